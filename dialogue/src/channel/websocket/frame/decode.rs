//! The decoder of frames from client to server.

use bytes::{Buf, Bytes, BytesMut};

use super::text::PartialText;
use super::{CloseFrame, IncomingMessage, MAX_CONTROL_BYTES, Opcode, Text, Violation, unmask};

/// Decodes the bytes of one client into messages and control frames.
///
/// A message that is one frame and wholly in the buffer is unmasked in place and returned at once. Of any other
/// message, each piece moves out of the buffer as it arrives. So the buffer never grows to the size of a message, a
/// message takes the memory of the received bytes and not of the length that its header claims, and text that isn't
/// UTF-8 is refused at its first invalid byte.
///
/// After a [`Violation`] or a close frame nothing more is decoded: input is discarded (RFC 6455, section 7.1.7).
#[derive(Debug)]
pub(crate) struct Decoder {
    max_message: usize,
    state: DecoderState,
    /// The received pieces of an incomplete message.
    partial: Option<Partial>,
}

#[derive(Debug, Clone, Copy)]
enum DecoderState {
    Header,
    Payload(CurrentFrame),
    Over,
}

/// A frame whose header was decoded; `left` bytes of its payload remain, masked with `key`.
#[derive(Debug, Clone, Copy)]
struct CurrentFrame {
    last: bool,
    opcode: Opcode,
    left: usize,
    key: [u8; 4],
}

impl Decoder {
    /// Returns a decoder that refuses messages of more than `max_message` bytes, in one frame or several.
    pub(crate) fn new(max_message: usize) -> Self {
        Decoder { max_message, state: DecoderState::Header, partial: None }
    }

    /// Removes the next message or control frame from the front of `input`; `None` if more bytes are needed.
    ///
    /// Call it until it returns `None`: one read may bring several messages.
    ///
    /// # Errors
    /// The client broke the protocol: send the violation's code in a close frame, and close.
    pub(crate) fn next(&mut self, input: &mut BytesMut) -> Result<Option<IncomingMessage>, Violation> {
        let incoming = self.decode(input);
        if matches!(incoming, Err(_) | Ok(Some(IncomingMessage::Close(_)))) {
            self.state = DecoderState::Over;
            self.partial = None;
            input.clear();
        }
        incoming
    }

    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<IncomingMessage>, Violation> {
        loop {
            let frame = match self.state {
                DecoderState::Payload(frame) => frame,
                DecoderState::Header => match self.open(input)? {
                    Some(frame) => frame,
                    None => return Ok(None),
                },
                DecoderState::Over => {
                    input.clear();
                    return Ok(None);
                }
            };
            let alone = frame.opcode.is_control() || (frame.last && self.partial.is_none());
            if alone && input.len() >= frame.left {
                self.state = DecoderState::Header;
                return take_whole(frame, input).map(Some);
            }
            self.state = DecoderState::Payload(frame);
            if frame.opcode.is_control() || (input.is_empty() && frame.left > 0) {
                return Ok(None);
            }
            if let Some(message) = self.take_piece(frame, input)? {
                return Ok(Some(message));
            }
        }
    }

    /// Decodes the header of the next frame, if it is complete, and removes it from `input`.
    fn open(&self, input: &mut BytesMut) -> Result<Option<CurrentFrame>, Violation> {
        let Some((frame, header_len)) = self.header(input)? else { return Ok(None) };
        input.advance(header_len);
        Ok(Some(frame))
    }

    /// Decodes the header at the start of `input`, and returns it with its length. Refuses as soon as an invalid byte
    /// has arrived.
    fn header(&self, input: &[u8]) -> Result<Option<(CurrentFrame, usize)>, Violation> {
        let [first, second, rest @ ..] = input else { return Ok(None) };
        let last = first & 0x80 != 0;
        if first & 0x70 != 0 {
            return Err(Violation::protocol("a reserved bit is set"));
        }
        let opcode = Opcode::from_bits(first & 0x0F).ok_or(Violation::protocol("reserved opcode"))?;
        if second & 0x80 == 0 {
            return Err(Violation::protocol("frame is not masked"));
        }
        let short_len = second & 0x7F;
        self.check_order(opcode, last, short_len)?;
        let Some((len, rest)) = read_len(short_len, rest)? else { return Ok(None) };
        let left = usize::try_from(len).map_err(|_| Violation::too_large())?;
        if !opcode.is_control() && left > self.remaining_capacity() {
            return Err(Violation::too_large());
        }
        let Some((key, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        Ok(Some((CurrentFrame { last, opcode, left, key: *key }, input.len() - rest.len())))
    }

    /// Checks that a frame of that kind may follow the previous one (RFC 6455, sections 5.4 and 5.5).
    fn check_order(&self, opcode: Opcode, last: bool, short_len: u8) -> Result<(), Violation> {
        let fault = match opcode {
            Opcode::Close | Opcode::Ping | Opcode::Pong if !last => "control frame is fragmented",
            Opcode::Close | Opcode::Ping | Opcode::Pong if usize::from(short_len) > MAX_CONTROL_BYTES => {
                "control frame is longer than 125 bytes"
            }
            Opcode::Continuation if self.partial.is_none() => "continuation of no message",
            Opcode::Text | Opcode::Binary if self.partial.is_some() => "new message within a fragmented one",
            _ => return Ok(()),
        };
        Err(Violation::protocol(fault))
    }

    /// Returns the maximum bytes that the current message may still have.
    fn remaining_capacity(&self) -> usize {
        self.max_message.saturating_sub(self.partial.as_ref().map_or(0, Partial::len))
    }

    /// Moves the received part of a data frame to its message, and returns the message if it is complete.
    fn take_piece(
        &mut self,
        frame: CurrentFrame,
        input: &mut BytesMut,
    ) -> Result<Option<IncomingMessage>, Violation> {
        let len = frame.left.min(input.len());
        let piece = input.get_mut(..len).unwrap_or_default();
        unmask(piece, frame.key);
        self.partial.get_or_insert_with(|| Partial::new(frame.opcode)).push(piece)?;
        input.advance(len);

        let left = frame.left - len;
        if left > 0 {
            let mut key = frame.key;
            key.rotate_left(len % 4);
            self.state = DecoderState::Payload(CurrentFrame { left, key, ..frame });
            return Ok(None);
        }
        self.state = DecoderState::Header;
        if !frame.last {
            return Ok(None);
        }
        self.partial.take().map(Partial::finish).transpose()
    }
}

/// Decodes the payload's length, and returns it with the rest of the header. The length must have its minimal encoding.
fn read_len(short_len: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, Violation> {
    let (len, least, rest) = match short_len {
        126 => match rest.split_first_chunk() {
            Some((len, rest)) => (u64::from(u16::from_be_bytes(*len)), 126, rest),
            None => return Ok(None),
        },
        127 => match rest.split_first_chunk() {
            Some((len, rest)) => (u64::from_be_bytes(*len), 1 << 16, rest),
            None => return Ok(None),
        },
        len => (u64::from(len), 0, rest),
    };
    if len < least {
        return Err(Violation::protocol("length is not written in the shortest way"));
    }
    if len > i64::MAX.unsigned_abs() {
        return Err(Violation::protocol("length has its highest bit set"));
    }
    Ok(Some((len, rest)))
}

/// Removes a complete frame that is a whole message or control frame from the buffer.
fn take_whole(frame: CurrentFrame, input: &mut BytesMut) -> Result<IncomingMessage, Violation> {
    if frame.opcode == Opcode::Text {
        // Without `split_to`, the buffer stays unshared, and is reused without reference counting.
        let payload = input.get_mut(..frame.left).unwrap_or_default();
        unmask(payload, frame.key);
        let text = Text::from_utf8(payload)?;
        input.advance(frame.left);
        return Ok(IncomingMessage::Text(text));
    }
    let mut payload = input.split_to(frame.left);
    unmask(&mut payload, frame.key);
    let payload = payload.freeze();
    Ok(match frame.opcode {
        Opcode::Close => IncomingMessage::Close(close_frame(&payload)?),
        Opcode::Ping => IncomingMessage::Ping(payload),
        Opcode::Pong => IncomingMessage::Pong(payload),
        Opcode::Text | Opcode::Binary | Opcode::Continuation => IncomingMessage::Binary(payload),
    })
}

fn close_frame(payload: &[u8]) -> Result<Option<CloseFrame>, Violation> {
    if payload.is_empty() {
        return Ok(None);
    }
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return Err(Violation::protocol("close frame has half a code"));
    };
    let code = u16::from_be_bytes(*code);
    // 1004 to 1006 and 1015 must not be sent (RFC 6455, section 7.4.1); 1012 to 1014 were registered later.
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Violation::protocol("close code is not allowed"));
    }
    Ok(Some(CloseFrame { code, reason: Text::from_utf8(reason)? }))
}

/// The received part of a message in several pieces.
#[derive(Debug)]
enum Partial {
    Text(PartialText),
    Binary(Vec<u8>),
}

impl Partial {
    fn new(opcode: Opcode) -> Self {
        match opcode {
            Opcode::Text => Partial::Text(PartialText::default()),
            _ => Partial::Binary(Vec::new()),
        }
    }

    fn len(&self) -> usize {
        match self {
            Partial::Text(text) => text.len(),
            Partial::Binary(bytes) => bytes.len(),
        }
    }

    fn push(&mut self, piece: &[u8]) -> Result<(), Violation> {
        match self {
            Partial::Text(text) => text.push(piece),
            Partial::Binary(bytes) => {
                bytes.extend_from_slice(piece);
                Ok(())
            }
        }
    }

    fn finish(self) -> Result<IncomingMessage, Violation> {
        Ok(match self {
            Partial::Text(text) => IncomingMessage::Text(text.finish()?),
            Partial::Binary(bytes) => IncomingMessage::Binary(Bytes::from(bytes)),
        })
    }
}
