//! Parsing of the frames that clients send, as far as it needs no knowledge of the room.
//!
//! A [`Request`] keeps the fields of a frame as raw JSON; its methods parse and check one field each.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{
    Code, Refusal,
    engine::ServerBounds,
    wire::{Position, json},
};

/// A frame of any type. Fields stay raw JSON until the frame's type needs them, so that an error names the field, and
/// fields that the type doesn't use are never refused. Of a duplicate field the last one counts.
#[derive(Debug, Default)]
pub(super) struct Request<'a> {
    id: Option<&'a RawValue>,
    kind: Option<&'a RawValue>,
    room_id: Option<&'a RawValue>,
    event: Option<&'a RawValue>,
    data: Option<&'a RawValue>,
    key: Option<&'a RawValue>,
    meta: Option<&'a RawValue>,
    events: Option<&'a RawValue>,
    since: Option<&'a RawValue>,
    before: Option<&'a RawValue>,
    limit: Option<&'a RawValue>,
    after: Option<&'a RawValue>,
    watch: Option<&'a RawValue>,
    name: Option<&'a RawValue>,
    description: Option<&'a RawValue>,
    max_size: Option<&'a RawValue>,
    token: Option<&'a RawValue>,
    #[cfg(feature = "push")]
    provider: Option<&'a RawValue>,
    #[cfg(feature = "push")]
    subscription: Option<&'a RawValue>,
    #[cfg(feature = "push")]
    rooms: Option<&'a RawValue>,
    #[cfg(feature = "push")]
    language: Option<&'a RawValue>,
    /// The maximum number of names in `events`.
    max_event_names: usize,
}

/// The maximum length of an `id`.
const MAX_ID_BYTES: usize = 64;
/// The maximum length of a `key`.
pub(super) const MAX_KEY_BYTES: usize = 128;
/// The maximum size of `meta` as compact JSON.
const MAX_META_BYTES: usize = 1_024;
/// The maximum length of a language tag, as BCP 47 recommends.
#[cfg(feature = "push")]
const MAX_LANGUAGE_BYTES: usize = 35;
/// The maximum length of a room's name or description.
const MAX_TEXT_BYTES: usize = 1_024;

impl<'a> Request<'a> {
    /// Parses a frame. The refusal of a malformed frame is sent without an `id`, since its own can't be trusted. The
    /// nesting depth is not checked yet; raw fields are skipped without recursion. The result is boxed and filled in
    /// place, since it is large and every frame has one.
    pub(super) fn parse(text: &'a str, bounds: &ServerBounds) -> Result<Box<Self>, Refusal> {
        if !text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{') {
            return Err(invalid("a frame is one JSON object"));
        }
        let mut request =
            Box::new(Request { max_event_names: bounds.max_subscribed_events, ..Request::default() });
        let mut reader = serde_json::Deserializer::from_str(text);
        let read = reader.deserialize_map(Members(&mut request)).and_then(|()| reader.end());
        read.map_err(|error| invalid(format!("not a JSON object: {error}")))?;
        Ok(request)
    }

    /// Returns the request's id as JSON, to be sent back unchanged.
    pub(super) fn id(&self) -> Result<Option<&'a RawValue>, Refusal> {
        let Some(id) = self.id else { return Ok(None) };
        let json = id.get();
        let fits = if json.starts_with('"') {
            serde_json::from_str::<Cow<'_, str>>(json).is_ok_and(|text| text.len() <= MAX_ID_BYTES)
        } else {
            json.len() <= MAX_ID_BYTES
                && !json.is_empty()
                && json.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit())
        };
        if fits { Ok(Some(id)) } else { Err(invalid("`id` is a string of at most 64 bytes, or an integer")) }
    }

    pub(super) fn kind(&self) -> Result<Cow<'a, str>, Refusal> {
        text("type", self.kind)
    }

    /// Returns whether the frame has this type.
    pub(super) fn is(&self, kind: &str) -> bool {
        self.kind().is_ok_and(|own| own == kind)
    }

    pub(super) fn room_id(&self) -> Result<Cow<'a, str>, Refusal> {
        text("roomId", self.room_id)
    }

    pub(super) fn event(&self) -> Result<Cow<'a, str>, Refusal> {
        text("event", self.event)
    }

    pub(super) fn event_if_any(&self) -> Result<Option<Cow<'a, str>>, Refusal> {
        self.event.map(|_| self.event()).transpose()
    }

    pub(super) fn token(&self) -> Result<Cow<'a, str>, Refusal> {
        text("token", self.token)
    }

    pub(super) fn data(&self) -> Result<&'a str, Refusal> {
        self.data.map(RawValue::get).ok_or_else(|| invalid("`data` is missing"))
    }

    pub(super) fn key(&self) -> Result<Option<Box<str>>, Refusal> {
        let Some(raw) = self.key else { return Ok(None) };
        let key = text("key", Some(raw))?;
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            return Err(invalid("`key` is a string of 1 to 128 bytes"));
        }
        Ok(Some(key.into()))
    }

    pub(super) fn meta(&self) -> Result<Option<Box<str>>, Refusal> {
        let Some(meta) = self.meta.map(RawValue::get) else { return Ok(None) };
        if !meta.starts_with('{') {
            return Err(invalid("`meta` is an object"));
        }
        // Compact, since a frame contains no raw newline; the size is that of the compact form.
        let meta = json::compact(meta);
        if meta.len() > MAX_META_BYTES {
            return Err(invalid("`meta` is at most 1024 bytes of JSON"));
        }
        if let Some(why) = json::unreadable(&meta) {
            return Err(invalid(format!("`meta` {why}")));
        }
        if json::names_one_twice(&meta) {
            return Err(invalid("`meta` names a member twice"));
        }
        Ok(Some(meta.into()))
    }

    pub(super) fn events(&self) -> Result<Option<Vec<Cow<'a, str>>>, Refusal> {
        let events: Option<Vec<_>> = self.events.map(|raw| read("events", raw.get())).transpose()?;
        check_event_count(events.as_ref().map_or(0, Vec::len), self.max_event_names)?;
        Ok(events)
    }

    pub(super) fn since(&self) -> Result<Option<Position>, Refusal> {
        let Some(raw) = self.since else { return Ok(None) };
        let since: Position = object("since", raw)?;
        match since.is_well_formed() {
            true => Ok(Some(since)),
            false => Err(invalid(
                "`since`: `epoch` and `eventId` are at most 64 of `A` to `Z`, `a` to `z`, `0` to `9`, `-` and `_`",
            )),
        }
    }

    pub(super) fn before(&self) -> Result<Option<u64>, Refusal> {
        self.before.map(|raw| read("before", raw.get())).transpose()
    }

    /// Returns `limit`, the number of entries that the client wants in a page.
    pub(super) fn limit(&self, limits: PageLimits) -> Result<usize, Refusal> {
        limits.check(self.limit.map(|raw| read("limit", raw.get())).transpose()?)
    }

    pub(super) fn after(&self) -> Result<Option<Cow<'a, str>>, Refusal> {
        self.after.map(|raw| text("after", Some(raw))).transpose()
    }

    pub(super) fn watch(&self) -> Result<bool, Refusal> {
        self.watch.map_or(Ok(false), |raw| read("watch", raw.get()))
    }

    #[cfg(feature = "push")]
    pub(super) fn provider(&self) -> Result<Cow<'a, str>, Refusal> {
        text("provider", self.provider)
    }

    #[cfg(feature = "push")]
    pub(super) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Returns `subscription` as the provider's type.
    #[cfg(feature = "push")]
    pub(super) fn subscription<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        object("subscription", self.subscription.ok_or_else(|| invalid("`subscription` is missing"))?)
    }

    #[cfg(feature = "push")]
    pub(super) fn rooms_if_any(&self) -> Result<Option<Vec<String>>, Refusal> {
        self.rooms.map(|raw| read("rooms", raw.get())).transpose()
    }

    #[cfg(feature = "push")]
    pub(super) fn language(&self) -> Result<Option<String>, Refusal> {
        let Some(raw) = self.language else { return Ok(None) };
        let language = text("language", Some(raw))?;
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if language.is_empty() || language.len() > MAX_LANGUAGE_BYTES || !language.chars().all(plain) {
            return Err(invalid("`language` is a tag such as `pt-BR`"));
        }
        Ok(Some(language.into()))
    }

    pub(super) fn name(&self) -> Result<Option<String>, Refusal> {
        short("name", self.name)
    }

    pub(super) fn description(&self) -> Result<Option<String>, Refusal> {
        short("description", self.description)
    }

    pub(super) fn max_size(&self) -> Result<Option<u32>, Refusal> {
        let size: Option<std::num::NonZeroU32> =
            self.max_size.map(|raw| read("maxSize", raw.get())).transpose()?;
        Ok(size.map(std::num::NonZeroU32::get))
    }
}

/// The bounds on the number of entries in a page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageLimits {
    /// The number if the client names none.
    pub(crate) default: usize,
    pub(crate) max: usize,
}

impl PageLimits {
    /// Returns the number of entries, which is at least 1.
    ///
    /// # Errors
    ///
    /// `INVALID_REQUEST` if the client wants none or too many.
    pub(crate) fn check(self, wanted: Option<usize>) -> Result<usize, Refusal> {
        let limit = wanted.unwrap_or(self.default);
        if (1..=self.max).contains(&limit) {
            Ok(limit)
        } else {
            Err(invalid(format!("`limit` is a number from 1 to {}", self.max)))
        }
    }
}

/// Refuses a list of more than `max` event names.
pub(crate) fn check_event_count(names: usize, max: usize) -> Result<(), Refusal> {
    match names > max {
        true => Err(Refusal::new(Code::TooMany, format!("`events` lists at most {max} names"))),
        false => Ok(()),
    }
}

/// Refuses JSON that is nested deeper than `max` levels, before any of its values is parsed.
pub(crate) fn check_depth(json: &str, max: usize) -> Result<(), Refusal> {
    // Nearly every frame has too few opening brackets to be too deep. They are summed in a `u8`, which the compiler
    // vectorises, since this runs for every frame.
    let brackets = |bytes: &[u8]| bytes.iter().map(|byte| u8::from(matches!(byte, b'{' | b'['))).sum::<u8>();
    let chunks = json.as_bytes().chunks(usize::from(u8::MAX));
    if chunks.map(|bytes| usize::from(brackets(bytes))).sum::<usize>() <= max {
        return Ok(());
    }
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'{' | b'[' if depth == max => {
                return Err(invalid(format!("JSON is nested at most {max} levels deep")));
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// Returns a refusal with [`Code::InvalidRequest`].
pub(crate) fn invalid(message: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::new(Code::InvalidRequest, message)
}

fn text<'a>(name: &str, raw: Option<&'a RawValue>) -> Result<Cow<'a, str>, Refusal> {
    #[derive(Deserialize)]
    struct Borrowed<'a>(#[serde(borrow)] Cow<'a, str>);

    let raw = raw.ok_or_else(|| invalid(format!("`{name}` is missing")))?;
    read::<Borrowed<'a>>(name, raw.get()).map(|Borrowed(text)| text)
}

fn short(name: &str, raw: Option<&RawValue>) -> Result<Option<String>, Refusal> {
    let Some(raw) = raw else { return Ok(None) };
    let text = text(name, Some(raw))?;
    if text.len() > MAX_TEXT_BYTES {
        return Err(invalid(format!("`{name}` is at most {MAX_TEXT_BYTES} bytes")));
    }
    Ok(Some(text.into()))
}

/// Parses an object as a struct. Of a duplicate field the last one counts. serde would also accept an array.
fn object<T: DeserializeOwned>(name: &str, raw: &RawValue) -> Result<T, Refusal> {
    let text = raw.get();
    if !text.starts_with('{') {
        return Err(invalid(format!("`{name}` is an object")));
    }
    read(name, text).or_else(|refusal| match json::last_of_each(text) {
        Some(once) => read(name, &once),
        None => Err(refusal),
    })
}

fn read<'a, T: Deserialize<'a>>(name: &str, json: &'a str) -> Result<T, Refusal> {
    let mut reader = serde_json::Deserializer::from_str(json);
    serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let (path, why) = (error.path().to_string(), error.into_inner().to_string());
        let why = why.rfind(" at line ").and_then(|end| why.get(..end)).unwrap_or(&why);
        if path == "." {
            invalid(format!("`{name}`: {why}"))
        } else {
            invalid(format!("`{name}.{path}`: {why}"))
        }
    })
}

/// Returns the field of a [`Request`] that a member of the frame is stored in.
type Slot = for<'r, 'a> fn(&'r mut Request<'a>) -> &'r mut Option<&'a RawValue>;

/// A member of a frame, by its name.
enum RequestField {
    /// A field in which `null` is a value.
    Nullable(Slot),
    /// A field in which `null` is the same as absence.
    Optional(Slot),
    Unknown,
}

/// Reads the members of a frame into a [`Request`].
struct Members<'r, 'a>(&'r mut Request<'a>);

impl<'de> Visitor<'de> for Members<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let Members(request) = self;
        while let Some(field) = members.next_key()? {
            match field {
                RequestField::Nullable(slot) => *slot(request) = Some(members.next_value()?),
                RequestField::Optional(slot) => *slot(request) = members.next_value()?,
                RequestField::Unknown => _ = members.next_value::<IgnoredAny>()?,
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for RequestField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;

        impl Visitor<'_> for Name {
            type Value = RequestField;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a field")
            }

            fn visit_bytes<E>(self, name: &[u8]) -> Result<RequestField, E> {
                Ok(match name {
                    b"id" => RequestField::Nullable(|request| &mut request.id),
                    b"type" => RequestField::Optional(|request| &mut request.kind),
                    b"roomId" => RequestField::Optional(|request| &mut request.room_id),
                    b"event" => RequestField::Optional(|request| &mut request.event),
                    b"data" => RequestField::Nullable(|request| &mut request.data),
                    b"key" => RequestField::Optional(|request| &mut request.key),
                    b"meta" => RequestField::Optional(|request| &mut request.meta),
                    b"events" => RequestField::Optional(|request| &mut request.events),
                    b"since" => RequestField::Optional(|request| &mut request.since),
                    b"before" => RequestField::Optional(|request| &mut request.before),
                    b"limit" => RequestField::Optional(|request| &mut request.limit),
                    b"after" => RequestField::Optional(|request| &mut request.after),
                    b"watch" => RequestField::Optional(|request| &mut request.watch),
                    b"name" => RequestField::Optional(|request| &mut request.name),
                    b"description" => RequestField::Optional(|request| &mut request.description),
                    b"maxSize" => RequestField::Optional(|request| &mut request.max_size),
                    b"token" => RequestField::Optional(|request| &mut request.token),
                    #[cfg(feature = "push")]
                    b"provider" => RequestField::Optional(|request| &mut request.provider),
                    #[cfg(feature = "push")]
                    b"subscription" => RequestField::Optional(|request| &mut request.subscription),
                    #[cfg(feature = "push")]
                    b"rooms" => RequestField::Optional(|request| &mut request.rooms),
                    #[cfg(feature = "push")]
                    b"language" => RequestField::Optional(|request| &mut request.language),
                    _ => RequestField::Unknown,
                })
            }
        }

        // As bytes: a name with a lone surrogate is not valid UTF-8, and is an unknown field.
        deserializer.deserialize_bytes(Name)
    }
}

#[cfg(test)]
mod tests;
