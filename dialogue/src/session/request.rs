//! The frames that clients send, as far as they can be read without knowing the room.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{Code, Position, Refusal, engine::ServerBounds, wire::json};

/// A frame of whatever type. Fields stay raw until its type says that they matter, so that an error names the field and
/// what isn't asked for can't be wrong. Of a field that is there twice the last counts.
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
    /// Event names in a list of them.
    most_names: usize,
}

/// Bytes of an `id` that is a string.
const LONGEST_ID: usize = 64;
/// Bytes of a `key`.
pub(super) const LONGEST_KEY: usize = 128;
/// Bytes of a `meta`.
const LARGEST_META: usize = 1_024;
/// Bytes of a language's tag; BCP 47 recommends that.
#[cfg(feature = "push")]
const LONGEST_LANGUAGE: usize = 35;
/// Bytes of a room's name or description.
const LONGEST_TEXT: usize = 1_024;

impl<'a> Request<'a> {
    /// Reads a frame; a refusal comes without an `id` then, since there is none to trust. Its depth is still to be checked:
    /// raw fields are read over without recursion. It is filled in the place where it stays: it is large, and each frame
    /// has one.
    pub(super) fn parse(text: &'a str, bounds: &ServerBounds) -> Result<Box<Self>, Refusal> {
        if !text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{') {
            return Err(invalid("a frame is one JSON object"));
        }
        let mut request =
            Box::new(Request { most_names: bounds.max_subscribed_events, ..Request::default() });
        let mut reader = serde_json::Deserializer::from_str(text);
        let read = reader.deserialize_map(Members(&mut request)).and_then(|()| reader.end());
        read.map_err(|error| invalid(format!("not a JSON object: {error}")))?;
        Ok(request)
    }

    /// The request's id as JSON, to be sent back as it came.
    pub(super) fn id(&self) -> Result<Option<&'a RawValue>, Refusal> {
        let Some(id) = self.id else { return Ok(None) };
        let json = id.get();
        let fits = if json.starts_with('"') {
            serde_json::from_str::<Cow<'_, str>>(json).is_ok_and(|text| text.len() <= LONGEST_ID)
        } else {
            json.len() <= LONGEST_ID
                && !json.is_empty()
                && json.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit())
        };
        if fits { Ok(Some(id)) } else { Err(invalid("`id` is a string of at most 64 bytes, or an integer")) }
    }

    pub(super) fn kind(&self) -> Result<Cow<'a, str>, Refusal> {
        text("type", self.kind)
    }

    /// Whether it is of this type.
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
        if key.is_empty() || key.len() > LONGEST_KEY {
            return Err(invalid("`key` is a string of 1 to 128 bytes"));
        }
        Ok(Some(key.into()))
    }

    pub(super) fn meta(&self) -> Result<Option<Box<str>>, Refusal> {
        let Some(meta) = self.meta.map(RawValue::get) else { return Ok(None) };
        if !meta.starts_with('{') {
            return Err(invalid("`meta` is an object"));
        }
        // What goes into a frame has no raw newline; and what takes no room in it doesn't count.
        let meta = json::compact(meta);
        if meta.len() > LARGEST_META {
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
        bounded_names(events.as_ref().map_or(0, Vec::len), self.most_names)?;
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

    /// `limit`, from 1 to `most`.
    pub(super) fn limit(&self, default: usize, most: usize) -> Result<usize, Refusal> {
        let Some(raw) = self.limit else { return Ok(default) };
        bounded_limit(read("limit", raw.get())?, most)
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

    /// `subscription`, of whatever type is wanted.
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
        if language.is_empty() || language.len() > LONGEST_LANGUAGE || !language.chars().all(plain) {
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

/// `limit`, from 1 to `most`.
pub(crate) fn bounded_limit(limit: usize, most: usize) -> Result<usize, Refusal> {
    if (1..=most).contains(&limit) {
        Ok(limit)
    } else {
        Err(invalid(format!("`limit` is a number from 1 to {most}")))
    }
}

/// Refuses a list of more than `most` event names.
pub(crate) fn bounded_names(names: usize, most: usize) -> Result<(), Refusal> {
    match names > most {
        true => Err(Refusal::new(Code::TooMany, format!("`events` lists at most {most} names"))),
        false => Ok(()),
    }
}

/// Refuses JSON that is nested deeper than `most` levels, before any value is read of it.
pub(crate) fn check_depth(json: &str, most: usize) -> Result<(), Refusal> {
    // With so few brackets it can't be; nearly all are out with this. Counted in bytes, of which the compiler takes many at
    // a time: every frame comes by here.
    let brackets = |bytes: &[u8]| bytes.iter().map(|byte| u8::from(matches!(byte, b'{' | b'['))).sum::<u8>();
    let all = json.as_bytes().chunks(usize::from(u8::MAX));
    if all.map(|bytes| usize::from(brackets(bytes))).sum::<usize>() <= most {
        return Ok(());
    }
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'{' | b'[' if depth == most => {
                return Err(invalid(format!("JSON is nested at most {most} levels deep")));
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// [`Code::InvalidRequest`].
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
    if text.len() > LONGEST_TEXT {
        return Err(invalid(format!("`{name}` is at most {LONGEST_TEXT} bytes")));
    }
    Ok(Some(text.into()))
}

/// Reads a struct's fields by their names, of which the last counts where one is there twice; serde would take an array too.
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

/// The place of a member's value in a [`Request`].
type Slot = for<'r, 'a> fn(&'r mut Request<'a>) -> &'r mut Option<&'a RawValue>;

/// The meaning of a frame's member by its name.
enum Field {
    /// A field that is there though it be `null`.
    Must(Slot),
    /// A field that isn't there if it is `null`.
    May(Slot),
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
                Field::Must(slot) => *slot(request) = Some(members.next_value()?),
                Field::May(slot) => *slot(request) = members.next_value()?,
                Field::Unknown => _ = members.next_value::<IgnoredAny>()?,
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;

        impl Visitor<'_> for Name {
            type Value = Field;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a field")
            }

            fn visit_bytes<E>(self, name: &[u8]) -> Result<Field, E> {
                Ok(match name {
                    b"id" => Field::Must(|request| &mut request.id),
                    b"type" => Field::May(|request| &mut request.kind),
                    b"roomId" => Field::May(|request| &mut request.room_id),
                    b"event" => Field::May(|request| &mut request.event),
                    b"data" => Field::Must(|request| &mut request.data),
                    b"key" => Field::May(|request| &mut request.key),
                    b"meta" => Field::May(|request| &mut request.meta),
                    b"events" => Field::May(|request| &mut request.events),
                    b"since" => Field::May(|request| &mut request.since),
                    b"before" => Field::May(|request| &mut request.before),
                    b"limit" => Field::May(|request| &mut request.limit),
                    b"after" => Field::May(|request| &mut request.after),
                    b"watch" => Field::May(|request| &mut request.watch),
                    b"name" => Field::May(|request| &mut request.name),
                    b"description" => Field::May(|request| &mut request.description),
                    b"maxSize" => Field::May(|request| &mut request.max_size),
                    b"token" => Field::May(|request| &mut request.token),
                    #[cfg(feature = "push")]
                    b"provider" => Field::May(|request| &mut request.provider),
                    #[cfg(feature = "push")]
                    b"subscription" => Field::May(|request| &mut request.subscription),
                    #[cfg(feature = "push")]
                    b"rooms" => Field::May(|request| &mut request.rooms),
                    #[cfg(feature = "push")]
                    b"language" => Field::May(|request| &mut request.language),
                    _ => Field::Unknown,
                })
            }
        }

        // As bytes, since a name with a lone surrogate is no text; it is no field of ours either.
        deserializer.deserialize_bytes(Name)
    }
}

#[cfg(test)]
mod tests;
