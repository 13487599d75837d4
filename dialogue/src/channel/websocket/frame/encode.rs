//! The encoder of frames from server to client: never masked, never fragmented.

use bytes::{BufMut, BytesMut};

use super::{MAX_CONTROL_BYTES, Opcode};

const FIN: u8 = 0x80;

/// Appends the header of a frame, whose payload of `len` bytes is written separately: many connections share it.
pub(crate) fn put_header(out: &mut BytesMut, opcode: Opcode, len: usize) {
    let first = FIN | opcode as u8;
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(len @ ..=125), _) => out.put_slice(&[first, len]),
        (_, Ok(len)) => {
            let [a, b] = len.to_be_bytes();
            out.put_slice(&[first, 126, a, b]);
        }
        _ => {
            out.put_slice(&[first, 127]);
            out.put_u64(len as u64);
        }
    }
}

/// Appends a text message. `payload` must be UTF-8.
pub(crate) fn put_text(out: &mut BytesMut, payload: &[u8]) {
    put_frame(out, Opcode::Text, payload);
}

/// Appends a binary message.
pub(crate) fn put_binary(out: &mut BytesMut, payload: &[u8]) {
    put_frame(out, Opcode::Binary, payload);
}

/// Appends a ping with at most the first 125 bytes of `payload`.
pub(crate) fn put_ping(out: &mut BytesMut, payload: &[u8]) {
    put_frame(out, Opcode::Ping, payload.get(..MAX_CONTROL_BYTES).unwrap_or(payload));
}

/// Appends a pong with the payload of its ping, at most the first 125 bytes.
pub(crate) fn put_pong(out: &mut BytesMut, payload: &[u8]) {
    put_frame(out, Opcode::Pong, payload.get(..MAX_CONTROL_BYTES).unwrap_or(payload));
}

/// Appends a close frame with as many whole characters of `reason` as fit into 123 bytes.
pub(crate) fn put_close(out: &mut BytesMut, code: u16, reason: &str) {
    let code = code.to_be_bytes();
    let (reason, _) = reason.split_at(reason.floor_char_boundary(MAX_CONTROL_BYTES - code.len()));
    put_header(out, Opcode::Close, code.len() + reason.len());
    out.put_slice(&code);
    out.put_slice(reason.as_bytes());
}

fn put_frame(out: &mut BytesMut, opcode: Opcode, payload: &[u8]) {
    out.reserve(MAX_HEADER_BYTES + payload.len());
    put_header(out, opcode, payload.len());
    out.put_slice(payload);
}

/// The maximum header of an unmasked frame.
const MAX_HEADER_BYTES: usize = 10;
