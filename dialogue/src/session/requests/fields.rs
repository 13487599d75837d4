//! The fields of a client's frame, from which a request is read.
//!
//! The fields stay raw JSON until the frame's type is known, so that an error names the field, and fields that the type
//! doesn't have are never refused. Of a repeated field the last one counts. `null` is the absence of a field, unless
//! its type is any JSON value.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{
        self, DeserializeOwned, DeserializeSeed, IgnoredAny, IntoDeserializer, MapAccess, Visitor,
        value::StrDeserializer,
    },
    forward_to_deserialize_any,
};
use serde_json::value::RawValue;

use super::{check_depth, invalid};
use crate::{
    Refusal,
    wire::{
        json,
        request::{Field, RAW_TOKEN, Text},
    },
};

/// The fields of one frame that requests have. Boxed, and filled in place, since every frame has them, and an idle
/// connection none.
#[derive(Debug)]
pub(crate) struct Fields<'a>(Box<[Option<&'a RawValue>; Field::ALL.len()]>);

/// The maximum length of an `id`.
const MAX_ID_BYTES: usize = 64;
impl<'a> Fields<'a> {
    /// Parses a frame. The refusal of a malformed frame is sent without an `id`, since its own can't be trusted. The
    /// nesting depth is not checked yet; raw fields are skipped without recursion.
    pub(crate) fn parse(text: &'a str) -> Result<Self, Refusal> {
        if !text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{') {
            return Err(invalid("a frame is one JSON object"));
        }
        let mut fields = Fields(Box::default());
        let mut reader = serde_json::Deserializer::from_str(text);
        let read = reader.deserialize_map(FieldsVisitor(&mut fields)).and_then(|()| reader.end());
        read.map_err(|error| invalid(format!("not a JSON object: {error}")))?;
        Ok(fields)
    }

    /// Parses the body of an HTTP request: a frame without `type`.
    ///
    /// # Errors
    ///
    /// `INVALID_REQUEST`, also for JSON that is nested deeper than `max_depth` levels.
    pub(crate) fn parse_body(text: &'a str, max_depth: usize) -> Result<Self, Refusal> {
        let fields = Self::parse(text)?;
        check_depth(text, max_depth)?;
        Ok(fields)
    }

    fn get(&self, field: Field) -> Option<&'a RawValue> {
        self.0.get(field as usize).copied().flatten()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.iter().flatten().count()
    }

    fn put(&mut self, field: Field, value: &'a RawValue) {
        if let Some(place) = self.0.get_mut(field as usize) {
            *place = Some(value);
        }
    }

    /// Returns the request's id as JSON, to be sent back unchanged.
    pub(crate) fn id(&self) -> Result<Option<&'a RawValue>, Refusal> {
        let Some(id) = self.get(Field::Id) else { return Ok(None) };
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

    /// Returns the `type` of the frame.
    pub(crate) fn kind(&self) -> Result<Cow<'a, str>, Refusal> {
        let kind = self.get(Field::Type).filter(|kind| kind.get() != "null");
        let kind = kind.ok_or_else(|| invalid("`type` is missing"))?;
        match serde_json::from_str::<Text<'a>>(kind.get()) {
            Ok(Text(kind)) => Ok(kind),
            Err(_) => Err(invalid("`type`: invalid type, expected a string")),
        }
    }

    /// Reads the fields of a request.
    ///
    /// # Errors
    ///
    /// `INVALID_REQUEST`, with the name of the field that is missing or of another type.
    pub(crate) fn read<T: Deserialize<'a>>(&self) -> Result<T, Refusal> {
        let plain = T::deserialize(FieldsDeserializer { fields: self, is_tracked: false });
        // Once more to find the place of the error: to track it costs more than the parsing itself.
        plain.or_else(|_| {
            T::deserialize(FieldsDeserializer { fields: self, is_tracked: true })
                .map_err(|FieldError(message)| invalid(message))
        })
    }
}

/// Parses an object as a struct. Of a duplicate field the last one counts. serde would also accept an array.
pub(crate) fn object<T: DeserializeOwned>(name: &str, raw: &str) -> Result<T, Refusal> {
    if !raw.starts_with('{') {
        return Err(invalid(format!("`{name}` is an object")));
    }
    read_value(name, raw).or_else(|refusal| match json::last_of_each(raw) {
        Some(once) => read_value(name, &once),
        None => Err(refusal),
    })
}

fn read_value<T: DeserializeOwned>(name: &str, json: &str) -> Result<T, Refusal> {
    let mut reader = serde_json::Deserializer::from_str(json);
    serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let FieldError(message) = FieldError::at(name, error.path(), error.inner());
        invalid(message)
    })
}

/// Collects the fields of a frame.
struct FieldsVisitor<'f, 'a>(&'f mut Fields<'a>);

impl<'de> Visitor<'de> for FieldsVisitor<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(FieldName(field)) = map.next_key()? {
            match field {
                Some(field) => self.0.put(field, map.next_value()?),
                None => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(())
    }
}

/// The name of a field; `None` for one that no request has.
struct FieldName(Option<Field>);

impl<'de> Deserialize<'de> for FieldName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;

        impl Visitor<'_> for NameVisitor {
            type Value = FieldName;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a field")
            }

            fn visit_bytes<E>(self, name: &[u8]) -> Result<FieldName, E> {
                Ok(FieldName(Field::named(name)))
            }
        }

        // As bytes: a name with a lone surrogate is not valid UTF-8, and is an unknown field.
        deserializer.deserialize_bytes(NameVisitor)
    }
}

/// Deserialises a request from the fields of a frame.
struct FieldsDeserializer<'f, 'a> {
    fields: &'f Fields<'a>,
    /// True if an error names the field and the place in it.
    is_tracked: bool,
}

impl<'de> Deserializer<'de> for FieldsDeserializer<'_, 'de> {
    type Error = FieldError;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, FieldError> {
        let FieldsDeserializer { fields, is_tracked } = self;
        visitor.visit_map(RequestAccess { fields, names: names.iter(), next: None, is_tracked })
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, FieldError> {
        Err(de::Error::custom("a request is a struct"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// The fields that a request has, in the order of its declaration.
struct RequestAccess<'f, 'a> {
    fields: &'f Fields<'a>,
    names: std::slice::Iter<'static, &'static str>,
    /// The field whose value is read next.
    next: Option<(&'static str, &'a RawValue)>,
    is_tracked: bool,
}

impl<'de> MapAccess<'de> for RequestAccess<'_, 'de> {
    type Error = FieldError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, FieldError> {
        let fields = self.fields;
        self.next = self.names.find_map(|name| Some((*name, fields.get(Field::named(name.as_bytes())?)?)));
        let Some((name, _)) = self.next else { return Ok(None) };
        let name: StrDeserializer<'static, FieldError> = name.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, FieldError> {
        let Some((name, value)) = self.next.take() else {
            return Err(de::Error::custom("a value follows its name"));
        };
        if !self.is_tracked {
            return seed.deserialize(FieldValue(value)).map_err(|_| FieldError::default());
        }
        let mut track = serde_path_to_error::Track::new();
        let tracked = serde_path_to_error::Deserializer::new(FieldValue(value), &mut track);
        seed.deserialize(tracked).map_err(|error| match value.get() {
            "null" => de::Error::missing_field(name),
            _ => FieldError::at(name, &track.path(), &error),
        })
    }
}

/// Deserialises the value of a field: as `serde_json` does, but for [`Raw`](crate::wire::request::Raw), whose text is
/// at hand.
struct FieldValue<'a>(&'a RawValue);

impl<'de> Deserializer<'de> for FieldValue<'de> {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        serde_json::Deserializer::from_str(self.0.get()).deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self.0.get() {
            "null" => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        match name {
            RAW_TOKEN => visitor.visit_borrowed_str(self.0.get()),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// The description of an invalid field.
#[derive(Debug, Default)]
struct FieldError(String);

impl FieldError {
    /// Returns the error at a path inside of a field.
    fn at(name: &str, path: &serde_path_to_error::Path, error: &serde_json::Error) -> Self {
        let (path, why) = (path.to_string(), error.to_string());
        let why = why.rfind(" at line ").and_then(|end| why.get(..end)).unwrap_or(&why);
        FieldError(if path == "." { format!("`{name}`: {why}") } else { format!("`{name}.{path}`: {why}") })
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for FieldError {}

impl de::Error for FieldError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        FieldError(message.to_string())
    }

    fn missing_field(field: &'static str) -> Self {
        FieldError(format!("`{field}` is missing"))
    }
}
