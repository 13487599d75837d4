//! An event as bytes, for stores that keep it so.
//!
//! ```text
//! 1 byte   format: 1
//! 1 byte   flags: server, meta, conflated, key, digest
//! 8 bytes  seq, 8 bytes timestamp, 8 bytes offset (big endian)
//! 11 bytes event id
//! then event, from and what the flags name of meta, conflated and key: 4 bytes of length (big endian), text
//! 32 bytes digest, if flagged
//! the rest data
//! ```

use std::{error::Error, fmt, sync::Arc};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::StoredEvent;
use crate::wire::Id;

const FORMAT: u8 = 1;
const SERVER: u8 = 1;
const META: u8 = 2;
const CONFLATED: u8 = 4;
const KEY: u8 = 8;
const DIGEST: u8 = 16;

impl StoredEvent {
    /// The whole event as bytes, to be read by [`decode`](Self::decode) in this version and later ones.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.data.len() + self.from.len() + 128);
        self.encode_into(&mut out);
        out.freeze()
    }

    /// Puts those bytes behind others.
    pub(crate) fn encode_into(&self, out: &mut impl BufMut) {
        let texts = [&self.meta, &self.conflated, &self.key].map(Option::as_deref);
        let flags = [
            (self.server, SERVER),
            (texts[0].is_some(), META),
            (texts[1].is_some(), CONFLATED),
            (texts[2].is_some(), KEY),
            (self.digest.is_some(), DIGEST),
        ];
        out.put_u8(FORMAT);
        out.put_u8(flags.iter().filter(|(set, _)| *set).map(|(_, flag)| flag).sum());
        out.put_u64(self.seq);
        out.put_u64(self.timestamp);
        out.put_u64(self.offset);
        out.put_slice(self.event_id.as_str().as_bytes());
        for text in [Some(&*self.event), Some(&*self.from)].into_iter().chain(texts).flatten() {
            // Nothing of an event is as long as 4 GiB.
            out.put_u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
            out.put_slice(text.as_bytes());
        }
        if let Some(digest) = &self.digest {
            out.put_slice(digest);
        }
        out.put_slice(&self.data);
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    ///
    /// The bytes are none of ours, or of a newer version.
    pub fn decode(mut bytes: Bytes) -> Result<Self, NotStored> {
        let bytes = &mut bytes;
        match bytes.try_get_u8().map_err(|_| NotStored::Garbled)? {
            FORMAT => {}
            newer => return Err(NotStored::Format(newer)),
        }
        let garbled = |_| NotStored::Garbled;
        let flags = bytes.try_get_u8().map_err(garbled)?;
        let has = |flag| flags & flag != 0;
        let seq = bytes.try_get_u64().map_err(garbled)?;
        let timestamp = bytes.try_get_u64().map_err(garbled)?;
        let offset = bytes.try_get_u64().map_err(garbled)?;
        let id = take(bytes, 11)?;
        let event_id = std::str::from_utf8(&id).ok().and_then(Id::parse).ok_or(NotStored::Garbled)?;
        let (event, from) = (text(bytes)?, text(bytes)?);
        let mut optional = |flag| has(flag).then(|| text(bytes)).transpose();
        let (meta, conflated, key) = (optional(META)?, optional(CONFLATED)?, optional(KEY)?);
        let digest = has(DIGEST).then(|| take(bytes, 32)).transpose()?;
        let digest = digest.map(|digest| <[u8; 32]>::try_from(&*digest).map_err(|_| NotStored::Garbled));
        Ok(StoredEvent {
            seq,
            event_id,
            timestamp,
            event: String::from(&*event).into(),
            from,
            server: has(SERVER),
            data: std::mem::take(bytes),
            meta,
            conflated,
            key,
            offset,
            digest: digest.transpose()?,
        })
    }
}

fn take(bytes: &mut Bytes, len: usize) -> Result<Bytes, NotStored> {
    if bytes.remaining() < len { Err(NotStored::Garbled) } else { Ok(bytes.split_to(len)) }
}

fn text(bytes: &mut Bytes) -> Result<Arc<str>, NotStored> {
    let len = bytes.try_get_u32().map_err(|_| NotStored::Garbled)?;
    let text = take(bytes, usize::try_from(len).map_err(|_| NotStored::Garbled)?)?;
    std::str::from_utf8(&text).map(Arc::from).map_err(|_| NotStored::Garbled)
}

/// Bytes that hold no event that this version can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotStored {
    /// They were written by a newer version, in this format.
    Format(u8),
    /// They are damaged, or none of ours.
    Garbled,
}

impl fmt::Display for NotStored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotStored::Format(format) => {
                write!(f, "the event is of format {format}, which a newer version of dialogue wrote")
            }
            NotStored::Garbled => f.write_str("the bytes hold no event"),
        }
    }
}

impl Error for NotStored {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn events() -> impl Strategy<Value = StoredEvent> {
        let optional = || proptest::option::of(".{0,40}".prop_map(Arc::<str>::from));
        let numbers = (any::<u64>(), any::<u64>(), any::<u64>());
        let texts = ("[a-z-]{1,20}", ".{1,40}", optional(), optional(), optional());
        let rest = (any::<bool>(), any::<Vec<u8>>(), any::<Option<[u8; 32]>>());
        (numbers, texts, rest).prop_map(|((seq, timestamp, offset), texts, (server, data, digest))| {
            StoredEvent {
                seq,
                event_id: Id::fresh(),
                timestamp,
                event: texts.0.into(),
                from: texts.1.into(),
                server,
                data: data.into(),
                meta: texts.2,
                conflated: texts.3,
                key: texts.4,
                offset,
                digest,
            }
        })
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(event in events()) {
            prop_assert_eq!(StoredEvent::decode(event.encode()), Ok(event));
        }

        #[test]
        fn half_an_event_is_none(event in events(), cut in 0_usize..70) {
            let whole = event.encode();
            let head = whole.len() - event.data.len();
            prop_assert_eq!(StoredEvent::decode(whole.slice(..cut.min(head - 1))), Err(NotStored::Garbled));
        }

        #[test]
        fn other_bytes_are_refused(bytes in any::<Vec<u8>>()) {
            let _ = StoredEvent::decode(bytes.into());
        }
    }

    #[test]
    fn a_newer_format_is_told_of() {
        assert_eq!(StoredEvent::decode(Bytes::from_static(&[9, 0])), Err(NotStored::Format(9)));
    }
}
