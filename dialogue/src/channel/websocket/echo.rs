//! A WebSocket that sends every message back, through the same framing as all others: for RFC 6455 test suites.

use bytes::BytesMut;

use super::{
    frame::{Decoder, IncomingMessage, put_binary, put_close, put_pong, put_text},
    socket::{UpgradedSocket, linger},
};
use std::time::Duration;

/// The maximum bytes of a message, those of RFC 6455 test suites.
const MAX_MESSAGE_BYTES: usize = 16 << 20;
/// The timeout of each write.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn run(mut socket: UpgradedSocket) {
    let mut decoder = Decoder::new(MAX_MESSAGE_BYTES);
    let mut input = std::mem::take(&mut socket.leftover);
    let mut output = BytesMut::new();
    let (code, closes_first) = 'open: loop {
        loop {
            match decoder.next(&mut input) {
                Ok(Some(IncomingMessage::Text(text))) => put_text(&mut output, text.as_bytes()),
                Ok(Some(IncomingMessage::Binary(bytes))) => put_binary(&mut output, &bytes),
                Ok(Some(IncomingMessage::Ping(payload))) => put_pong(&mut output, &payload),
                Ok(Some(IncomingMessage::Pong(_))) => {}
                Ok(Some(IncomingMessage::Close(frame))) => {
                    break 'open (frame.map_or(1000, |frame| frame.code), false);
                }
                Ok(None) => break,
                Err(violation) => break 'open (violation.code, true),
            }
        }
        socket.writer.write_last(None, &output, WRITE_TIMEOUT).await;
        output.clear();
        if !matches!(socket.reader.read(&mut input).await, Ok(1..)) {
            return socket.writer.close().await;
        }
    };
    put_close(&mut output, code, "");
    socket.writer.write_last(None, &output, WRITE_TIMEOUT).await;
    if closes_first {
        socket.writer.shutdown_write().await;
        linger(&mut socket.reader, Duration::from_secs(1)).await;
    }
    socket.writer.close().await;
}
