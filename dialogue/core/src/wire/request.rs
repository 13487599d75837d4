//! The requests that clients send: each is declared once, and serialised by the client and parsed by the server from
//! this declaration.
//!
//! A frame has, beside the fields declared here, `type` and an optional `id`. Optional fields may be absent or `null`.
//! The session checks the meaning and the bounds of each field (`session/requests`).

use std::{borrow::Cow, fmt, ops::Deref};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Visitor, ser};
use serde_json::value::RawValue;

/// A request of a client.
pub trait ClientRequest {
    /// The `type` of the frame.
    const TYPE: &'static str;
}

/// `auth`: shows a token, or renews it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Auth<'a> {
    #[serde(borrow)]
    pub token: Text<'a>,
}

/// `join`: joins a room, or joins it again from a position.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Join<'a> {
    #[serde(borrow)]
    pub room_id: Text<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<Text<'a>>>,
    /// The [`Position`](super::Position) to resume from.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Raw<'a>>,
}

/// `leave`: leaves a room.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Leave<'a> {
    #[serde(borrow)]
    pub room_id: Text<'a>,
}

/// `subscribe`: receives these events of a room, too.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subscribe<'a> {
    #[serde(borrow)]
    pub room_id: Text<'a>,
    #[serde(borrow)]
    pub events: Vec<Text<'a>>,
}

/// `unsubscribe`: receives these events of a room no more.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unsubscribe<'a> {
    #[serde(borrow)]
    pub room_id: Text<'a>,
    #[serde(borrow)]
    pub events: Vec<Text<'a>>,
}

/// `trigger`: sends an event to a room.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trigger<'a> {
    #[serde(borrow)]
    pub room_id: Text<'a>,
    #[serde(borrow)]
    pub event: Text<'a>,
    #[serde(borrow)]
    pub data: Raw<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Raw<'a>>,
}

/// `getHistory`: requests a page of a room's log.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetHistory<'a> {
    #[serde(borrow)]
    pub room_id: Text<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// `members`: requests a page of the users in a room.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetMembers<'a> {
    #[serde(borrow)]
    pub room_id: Text<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Text<'a>>,
}

/// `listRooms`: requests a page of the rooms that the user sees.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ListRooms<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<bool>,
}

/// `createRoom`: creates an instance of a keyed room.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateRoom<'a> {
    #[serde(borrow)]
    pub room_id: Text<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_size: Option<u32>,
}

/// `deleteRoom`: deletes an instance of a keyed room.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeleteRoom<'a> {
    #[serde(borrow)]
    pub room_id: Text<'a>,
}

/// `registerPush`: registers a device for the notifications of rooms.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RegisterPush<'a> {
    #[serde(borrow)]
    pub provider: Text<'a>,
    /// The device's token, of a provider that has tokens.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Text<'a>>,
    /// The browser's subscription, of a provider that has subscriptions.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub subscription: Option<Raw<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub language: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rooms: Option<Vec<String>>,
}

/// `unregisterPush`: ends the registration of a device, for some rooms or for all.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnregisterPush<'a>(#[serde(borrow)] pub RegisterPush<'a>);

macro_rules! types {
    ($($name:ident = $kind:literal),* $(,)?) => {
        $(impl ClientRequest for $name<'_> { const TYPE: &'static str = $kind; })*
    };
}

types! {
    Auth = "auth",
    CreateRoom = "createRoom",
    DeleteRoom = "deleteRoom",
    GetHistory = "getHistory",
    GetMembers = "members",
    Join = "join",
    Leave = "leave",
    ListRooms = "listRooms",
    RegisterPush = "registerPush",
    Subscribe = "subscribe",
    Trigger = "trigger",
    UnregisterPush = "unregisterPush",
    Unsubscribe = "unsubscribe",
}

macro_rules! fields {
    ($($field:ident = $name:literal),* $(,)?) => {
        /// A field of requests, `type` and `id` included. The server skips fields with other names.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Field {
            $($field),*
        }

        impl Field {
            pub const ALL: &[Field] = &[$(Field::$field),*];

            /// Returns the field of a name; `None` if no request has one of that name.
            pub fn named(name: &[u8]) -> Option<Self> {
                match name {
                    $($name => Some(Field::$field),)*
                    _ => None,
                }
            }
        }
    };
}

fields! {
    Type = b"type",
    Id = b"id",
    RoomId = b"roomId",
    Event = b"event",
    Data = b"data",
    Key = b"key",
    Meta = b"meta",
    Events = b"events",
    Since = b"since",
    Before = b"before",
    Limit = b"limit",
    After = b"after",
    Watch = b"watch",
    Name = b"name",
    Description = b"description",
    MaxSize = b"maxSize",
    Token = b"token",
    Provider = b"provider",
    Subscription = b"subscription",
    Language = b"language",
    Rooms = b"rooms",
}

/// A text, borrowed from the frame if it has no escapes. (serde borrows a `Cow` only if it is the type of the field
/// itself.)
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// A JSON value as the client wrote it.
#[derive(Debug, Clone)]
pub enum Raw<'a> {
    /// Of a frame that was parsed.
    Borrowed(&'a str),
    /// Of a frame that is to be sent.
    Owned(Box<RawValue>),
}

/// The name by which [`Raw`] asks a deserializer for the text of a value. That of a frame's fields has the text
/// already, and need not read it again.
pub const RAW_TOKEN: &str = "$dialogue::Raw";

impl Raw<'_> {
    /// Returns the value as text.
    pub fn get(&self) -> &str {
        match self {
            Raw::Borrowed(text) => text,
            Raw::Owned(raw) => raw.get(),
        }
    }
}

impl<'a> From<Raw<'a>> for Cow<'a, str> {
    fn from(raw: Raw<'a>) -> Self {
        match raw {
            Raw::Borrowed(text) => Cow::Borrowed(text),
            Raw::Owned(raw) => Cow::Owned(raw.get().to_owned()),
        }
    }
}

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Raw::Borrowed(text) => {
                let raw: &RawValue = serde_json::from_str(text).map_err(ser::Error::custom)?;
                raw.serialize(serializer)
            }
            Raw::Owned(raw) => raw.serialize(serializer),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RawVisitor;

        impl<'de> Visitor<'de> for RawVisitor {
            type Value = Raw<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any JSON value")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Raw<'de>, E> {
                Ok(Raw::Borrowed(text))
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(
                self,
                deserializer: D,
            ) -> Result<Raw<'de>, D::Error> {
                <&RawValue>::deserialize(deserializer).map(|raw| Raw::Borrowed(raw.get()))
            }
        }

        deserializer.deserialize_newtype_struct(RAW_TOKEN, RawVisitor)
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Text(Cow::Borrowed(text))
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Text(Cow::Owned(text))
    }
}

impl Raw<'static> {
    /// Returns a value as JSON.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<Self> {
        serde_json::value::to_raw_value(value).map(Raw::from)
    }
}

impl From<Box<RawValue>> for Raw<'static> {
    fn from(json: Box<RawValue>) -> Self {
        Raw::Owned(json)
    }
}
