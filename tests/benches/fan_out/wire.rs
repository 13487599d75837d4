//! Bytes on the wire: the record in each payload, and WebSocket frames as a client sees them.

use memchr::memmem;

/// What every published payload starts with: plain text that no server's envelope alters.
///
/// `~L`, then in hex: phase (2 digits), room (4), number in the room (8), number in the phase (8), when (16).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) phase: u8,
    pub(crate) room: u16,
    /// Counts up within the room: order and holes are judged by it.
    pub(crate) seq: u32,
    /// Counts up over all rooms of the phase.
    pub(crate) number: u32,
    /// Nanoseconds from the start of the load to when it was, or was due to be, published.
    pub(crate) stamp: u64,
}

const MARK: &str = "~L";
const LENGTH: usize = 40;

impl Record {
    /// The record, padded to `size` bytes.
    pub(crate) fn payload(&self, size: usize) -> String {
        let Record { phase, room, seq, number, stamp } = self;
        let text = format!("{MARK}{phase:02x}{room:04x}{seq:08x}{number:08x}{stamp:016x}");
        format!("{text:x<size$}")
    }

    /// The record somewhere in a message.
    pub(crate) fn find(message: &[u8]) -> Option<Self> {
        let at = memmem::find(message, MARK.as_bytes())?;
        let text = std::str::from_utf8(message.get(at..at + LENGTH)?).ok()?;
        let field = |from: usize, to: usize| u64::from_str_radix(text.get(from..to)?, 16).ok();
        Some(Record {
            phase: field(2, 4)?.try_into().ok()?,
            room: field(4, 8)?.try_into().ok()?,
            seq: field(8, 16)?.try_into().ok()?,
            number: field(16, 24)?.try_into().ok()?,
            stamp: field(24, 40)?,
        })
    }
}

/// A frame of a server: its opcode, its payload, and where it ends.
pub(crate) fn server_frame(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    let (start, length) = match second & 0x7f {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?).try_into().ok()?),
        short => (2, usize::from(short)),
    };
    let end = start + length;
    Some((first & 0x0f, bytes.get(start..end)?, end))
}

/// Appends a frame of a client, masked with the key 0: the payload stays as it is.
pub(crate) fn put_client_frame(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    out.push(0x80 | opcode);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short), _) if short < 126 => out.push(0x80 | short),
        (_, Ok(medium)) => {
            out.push(0x80 | 126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(0x80 | 127);
            out.extend_from_slice(&u64::try_from(payload.len()).unwrap_or(u64::MAX).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

/// The status of a response's head, and where the head ends.
pub(crate) fn response_head(bytes: &[u8]) -> Option<(&str, usize)> {
    let end = memmem::find(bytes, b"\r\n\r\n")? + 4;
    Some((std::str::from_utf8(bytes.get(9..12)?).ok()?, end))
}
