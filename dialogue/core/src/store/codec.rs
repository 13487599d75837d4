//! The binary encoding of a [`StoredEvent`], which the disk and Redis stores keep, and any other store may.
//!
//! ```text
//! 1 byte    format: 1
//! 1 byte    flags: 1 from_server, 2 meta, 4 conflation_key, 8 key, 16 digest
//! 8 bytes   seq
//! 8 bytes   timestamp
//! 8 bytes   offset
//! 11 bytes  event id
//! strings   event, from; then meta, conflation_key, key if flagged: each 4 bytes of length, UTF-8
//! 32 bytes  digest, if flagged
//! the rest  data
//! ```
//!
//! All integers are big endian. Redis scripts read `timestamp`, `offset`, the event id and the event name at their
//! places.

use std::{error::Error, fmt, sync::Arc};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::StoredEvent;
use crate::wire::Id;

const FORMAT: u8 = 1;
const SERVER: u8 = 1;
const META: u8 = 2;
const CONFLATION_KEY: u8 = 4;
const KEY: u8 = 8;
const DIGEST: u8 = 16;

impl StoredEvent {
    /// Returns the whole event as bytes, which [`decode`](Self::decode) reads in this version and later ones.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.data.len() + self.from.len() + 128);
        self.encode_into(&mut out);
        out.freeze()
    }

    /// Appends the encoded event to `out`.
    pub fn encode_into(&self, out: &mut impl BufMut) {
        let texts = [&self.meta, &self.conflation_key, &self.key].map(Option::as_deref);
        let flags = [
            (self.from_server, SERVER),
            (texts[0].is_some(), META),
            (texts[1].is_some(), CONFLATION_KEY),
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
            // No string of an event is as long as 4 GiB.
            out.put_u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
            out.put_slice(text.as_bytes());
        }
        if let Some(digest) = &self.digest {
            out.put_slice(digest);
        }
        out.put_slice(&self.data);
    }

    /// Returns the event that [`encode`](Self::encode) has written.
    ///
    /// # Errors
    ///
    /// The bytes are not an encoded event, or a newer version has written them.
    pub fn decode(mut bytes: Bytes) -> Result<Self, DecodeError> {
        let bytes = &mut bytes;
        match bytes.try_get_u8().map_err(|_| DecodeError::Malformed)? {
            FORMAT => {}
            newer => return Err(DecodeError::UnsupportedFormat(newer)),
        }
        let malformed = |_| DecodeError::Malformed;
        let flags = bytes.try_get_u8().map_err(malformed)?;
        let has = |flag| flags & flag != 0;
        let seq = bytes.try_get_u64().map_err(malformed)?;
        let timestamp = bytes.try_get_u64().map_err(malformed)?;
        let offset = bytes.try_get_u64().map_err(malformed)?;
        let id = take(bytes, 11)?;
        let event_id = std::str::from_utf8(&id).ok().and_then(Id::parse).ok_or(DecodeError::Malformed)?;
        let (event, from) = (text(bytes)?, text(bytes)?);
        let mut optional = |flag| has(flag).then(|| text(bytes)).transpose();
        let (meta, conflation_key, key) = (optional(META)?, optional(CONFLATION_KEY)?, optional(KEY)?);
        let digest = has(DIGEST).then(|| take(bytes, 32)).transpose()?;
        let digest = digest.map(|digest| <[u8; 32]>::try_from(&*digest).map_err(|_| DecodeError::Malformed));
        Ok(StoredEvent {
            seq,
            event_id,
            timestamp,
            event: String::from(&*event).into(),
            from,
            from_server: has(SERVER),
            data: std::mem::take(bytes),
            meta,
            conflation_key,
            key,
            offset,
            digest: digest.transpose()?,
        })
    }
}

fn take(bytes: &mut Bytes, len: usize) -> Result<Bytes, DecodeError> {
    if bytes.remaining() < len { Err(DecodeError::Malformed) } else { Ok(bytes.split_to(len)) }
}

fn text(bytes: &mut Bytes) -> Result<Arc<str>, DecodeError> {
    let len = bytes.try_get_u32().map_err(|_| DecodeError::Malformed)?;
    let text = take(bytes, usize::try_from(len).map_err(|_| DecodeError::Malformed)?)?;
    std::str::from_utf8(&text).map(Arc::from).map_err(|_| DecodeError::Malformed)
}

/// The reason why bytes can't be decoded as a [`StoredEvent`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// A newer version of the library has written them, in the format of this number.
    UnsupportedFormat(u8),
    /// They are damaged, or were never an encoded event.
    Malformed,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::UnsupportedFormat(format) => {
                write!(f, "the event has format {format}, which a newer version of dialogue has written")
            }
            DecodeError::Malformed => f.write_str("the bytes are not an encoded event"),
        }
    }
}

impl Error for DecodeError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn events() -> impl Strategy<Value = StoredEvent> {
        let optional = || proptest::option::of(".{0,40}".prop_map(Arc::<str>::from));
        let numbers = (any::<u64>(), any::<u64>(), any::<u64>());
        let texts = ("[a-z-]{1,20}", ".{1,40}", optional(), optional(), optional());
        let rest = (any::<bool>(), any::<Vec<u8>>(), any::<Option<[u8; 32]>>());
        (numbers, texts, rest).prop_map(|((seq, timestamp, offset), texts, (from_server, data, digest))| {
            StoredEvent {
                seq,
                event_id: Id::fresh(),
                timestamp,
                event: texts.0.into(),
                from: texts.1.into(),
                from_server,
                data: data.into(),
                meta: texts.2,
                conflation_key: texts.3,
                key: texts.4,
                offset,
                digest,
            }
        })
    }

    proptest! {
        #[test]
        fn an_encoded_event_decodes_to_itself(event in events()) {
            prop_assert_eq!(StoredEvent::decode(event.encode()), Ok(event));
        }

        #[test]
        fn a_truncated_event_is_malformed(event in events(), cut in 0_usize..70) {
            let encoded = event.encode();
            let header = encoded.len() - event.data.len();
            prop_assert_eq!(StoredEvent::decode(encoded.slice(..cut.min(header - 1))), Err(DecodeError::Malformed));
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in any::<Vec<u8>>()) {
            let _ = StoredEvent::decode(bytes.into());
        }
    }

    #[test]
    fn a_newer_format_is_reported() {
        assert_eq!(StoredEvent::decode(Bytes::from_static(&[9, 0])), Err(DecodeError::UnsupportedFormat(9)));
    }
}
