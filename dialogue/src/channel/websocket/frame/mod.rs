//! The framing of RFC 6455 (section 5), server side, without I/O.
//!
//! [`Decoder`] turns the received bytes of a connection into whole messages; the `put_` functions append frames to a
//! write buffer. Nothing here depends on sockets, rooms or JSON.

mod decode;
mod encode;
mod text;

#[cfg(test)]
mod tests;

use std::fmt;

use bytes::Bytes;

pub(crate) use self::decode::Decoder;
pub(crate) use self::encode::{put_binary, put_close, put_ping, put_pong, put_text};
pub(crate) use self::text::Text;

/// A whole message or a control frame of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum IncomingMessage {
    Text(Text),
    Binary(Bytes),
    Ping(Bytes),
    Pong(Bytes),
    /// A close frame; `None` if it has no code. Nothing follows it.
    Close(Option<CloseFrame>),
}

/// The payload of a close frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CloseFrame {
    pub(crate) code: u16,
    pub(crate) reason: Text,
}

/// A breach of the protocol, after which the connection must be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Violation {
    /// The code of the close frame to send: 1002, 1007 or 1009.
    pub(crate) code: u16,
    /// The fault, short enough for the reason of a close frame.
    pub(crate) message: &'static str,
}

impl Violation {
    const fn protocol(message: &'static str) -> Self {
        Violation { code: 1002, message }
    }

    const fn not_utf8() -> Self {
        Violation { code: 1007, message: "text is not valid UTF-8" }
    }

    const fn too_large() -> Self {
        Violation { code: 1009, message: "message is over the limit" }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message)
    }
}

impl std::error::Error for Violation {}

/// The kinds of frame that RFC 6455 section 5.2 defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Opcode {
    Continuation = 0x0,
    Text = 0x1,
    Binary = 0x2,
    Close = 0x8,
    Ping = 0x9,
    Pong = 0xA,
}

impl Opcode {
    fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Opcode::Continuation,
            0x1 => Opcode::Text,
            0x2 => Opcode::Binary,
            0x8 => Opcode::Close,
            0x9 => Opcode::Ping,
            0xA => Opcode::Pong,
            _ => return None,
        })
    }

    fn is_control(self) -> bool {
        matches!(self, Opcode::Close | Opcode::Ping | Opcode::Pong)
    }
}

/// The maximum payload of a control frame (RFC 6455, section 5.5).
const MAX_CONTROL_BYTES: usize = 125;

/// Unmasks or masks a payload (RFC 6455, section 5.3): both are one XOR.
///
/// Processes eight bytes at a time, unaligned, which the compiler vectorises.
fn unmask(payload: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (chunks, rest) = payload.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.into_iter().cycle()) {
        *byte ^= key;
    }
}
