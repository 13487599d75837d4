//! Decoding and validation of a payload, and the encoding of an event for the log.

use std::{borrow::Cow, cell::Cell, io};

use serde::de::DeserializeOwned;

use super::Payload;
use crate::{
    Code, Event, Refusal,
    wire::{Detail, json},
};

/// An event as it is written to the log.
#[derive(Debug)]
pub(crate) struct EncodedEvent {
    /// The payload as JSON.
    pub(crate) data: String,
    /// The key of a `latest` event: a newer event with the same key replaces this one.
    pub(crate) conflation_key: Option<String>,
}

/// Decodes and validates an event.
pub(super) fn decode<E: Event>(payload: Payload<'_>) -> Result<E, Refusal> {
    let event = match payload {
        Payload::Json(json) => decode_json::<E>(&json)?,
        Payload::Typed(event) => *event.downcast::<E>().map_err(|_| {
            tracing::error!(
                event = E::NAME,
                "an event of server code has another type than its row of the room"
            );
            Refusal::new(Code::Internal, "internal error")
        })?,
    };
    event.check().map_err(Refusal::invalid_fields)?;
    Ok(event)
}

fn decode_json<E: Event>(text: &str) -> Result<E, Refusal> {
    // serde would also accept an array of a struct's fields.
    if E::IS_OBJECT && !text.trim_start().starts_with('{') {
        let message = "an object is expected".to_owned();
        return Err(Refusal::invalid_fields(vec![Detail { path: String::new(), message }]));
    }
    match serde_json::from_str(text) {
        Ok(event) => Ok(event),
        Err(_) => {
            // serde's derives refuse a duplicate field; by the protocol, the last one counts.
            let json = json::last_of_each(text).map_or(Cow::Borrowed(text), Cow::Owned);
            serde_json::from_str(&json).map_err(|_| decode_refusal::<E>(&json))
        }
    }
}

/// Encodes the fields that the event's type has; unknown fields of the received payload are dropped by this.
pub(super) fn encode<E: Event>(event: &E) -> Result<EncodedEvent, Refusal> {
    let encoded = if E::READS_BACK { Ok(serde_json::to_string(event)) } else { encode_readable(event) };
    let data = encoded?.map_err(|error| {
        tracing::error!(event = E::NAME, %error, "an event can't be encoded as JSON");
        Refusal::new(Code::Internal, "internal error")
    })?;
    Ok(EncodedEvent { data, conflation_key: event.conflation_key() })
}

/// Encodes an event of a type that may not decode its own encoding, and refuses it if it doesn't: no subscriber could
/// decode such an event from the log.
fn encode_readable<E: Event>(event: &E) -> Result<serde_json::Result<String>, Refusal> {
    /// Writes raw JSON fragments on one line, and records that there was one.
    struct Compact<'a>(&'a Cell<bool>);

    impl serde_json::ser::Formatter for Compact<'_> {
        fn write_raw_fragment<W: ?Sized + io::Write>(&mut self, out: &mut W, raw: &str) -> io::Result<()> {
            self.0.set(true);
            out.write_all(json::compact(raw).as_bytes())
        }
    }

    let (has_raw, mut data) = (Cell::new(false), Vec::with_capacity(128));
    let mut serializer = serde_json::Serializer::with_formatter(&mut data, Compact(&has_raw));
    if let Err(error) = event.serialize(&mut serializer) {
        return Ok(Err(error));
    }
    let Ok(data) = String::from_utf8(data) else {
        return Err(Refusal::new(Code::Internal, "internal error"));
    };
    if serde_json::from_str::<E>(&data).is_err() {
        return Err(decode_refusal::<E>(&data));
    }
    // A raw JSON value decodes as itself even where other JSON parsers refuse it.
    match has_raw.get().then(|| json::unreadable(&data)).flatten() {
        Some(why) => {
            Err(Refusal::invalid_fields(vec![Detail { path: String::new(), message: why.to_owned() }]))
        }
        None => Ok(Ok(data)),
    }
}

/// Returns the refusal of JSON that can't be decoded as `E`. Decodes it once more, with path tracking, which is slower,
/// to name the field (as a JSON Pointer, RFC 6901).
fn decode_refusal<E: DeserializeOwned>(json: &str) -> Refusal {
    let mut reader = serde_json::Deserializer::from_str(json);
    let Err(error) = serde_path_to_error::deserialize::<_, E>(&mut reader) else {
        return Refusal::new(Code::InvalidRequest, "`data` is not one JSON value");
    };
    let mut path = String::new();
    for segment in error.path() {
        use serde_path_to_error::Segment;
        match segment {
            Segment::Map { key } => path.extend(["/", &key.replace('~', "~0").replace('/', "~1")]),
            Segment::Seq { index } => path.extend(["/", &index.to_string()]),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    // The line and column of serde_json's text are dropped: the path is more useful.
    let text = error.inner().to_string();
    let message = text.rfind(" at line ").and_then(|end| text.get(..end)).unwrap_or(&text).to_owned();
    if let Some(missing) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        path.extend(["/", missing]);
    }
    Refusal::invalid_fields(vec![Detail { path, message }])
}
