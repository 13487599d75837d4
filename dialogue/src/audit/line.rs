//! The lines of an export.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::value::RawValue;

use super::{
    Anchor,
    anchor::{from_hex, hex},
};

/// The version of the format.
const VERSION: u32 = 1;

/// The first line.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Header {
    audit: u32,
    pub(super) room_id: String,
    pub(super) epoch: String,
    pub(super) after: Link,
    pub(super) through: Link,
}

/// An anchor, as JSON.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Link {
    seq: u64,
    #[serde(serialize_with = "write_digest", deserialize_with = "read_digest")]
    digest: [u8; 32],
}

/// An event: its digest, and its frame as it is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line<'a> {
    #[serde(deserialize_with = "read_digest")]
    pub(super) digest: [u8; 32],
    #[serde(borrow)]
    pub(super) frame: &'a RawValue,
}

/// The fields that are read of a frame.
#[derive(Debug, Deserialize)]
pub(super) struct AuditedFrame<'a> {
    #[serde(rename = "roomId", borrow)]
    pub(super) room_id: Cow<'a, str>,
    pub(super) seq: u64,
}

impl Header {
    pub(super) fn new(room_id: &str, epoch: &str, after: Anchor, through: Anchor) -> Self {
        let [after, through] = [after, through].map(|Anchor { seq, digest }| Link { seq, digest });
        Header { audit: VERSION, room_id: room_id.to_owned(), epoch: epoch.to_owned(), after, through }
    }

    /// Returns the line with its line feed.
    pub(super) fn encode(&self) -> Vec<u8> {
        // Text and numbers can always be serialised.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }

    pub(super) fn decode(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok().filter(|header: &Header| header.audit == VERSION)
    }
}

/// Appends the line of an event with its line feed.
pub(super) fn put_line(out: &mut Vec<u8>, digest: &[u8; 32], frame: &[u8]) {
    out.extend_from_slice(br#"{"digest":""#);
    out.extend_from_slice(hex(digest).as_bytes());
    out.extend_from_slice(br#"","frame":"#);
    out.extend_from_slice(frame);
    out.extend_from_slice(b"}\n");
}

impl From<Link> for Anchor {
    fn from(Link { seq, digest }: Link) -> Self {
        Anchor { seq, digest }
    }
}

fn write_digest<S: Serializer>(digest: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex(digest))
}

fn read_digest<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
    let text = Cow::<'de, str>::deserialize(deserializer)?;
    from_hex(&text).ok_or_else(|| de::Error::custom("no digest of 64 hexadecimal digits in lower case"))
}
