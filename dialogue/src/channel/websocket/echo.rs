//! A socket that sends every message back, through the framing of all others.

use bytes::BytesMut;

use super::{
    frame::{Decoder, Incoming, put_binary, put_close, put_pong, put_text},
    socket::{Socket, linger},
};
use std::time::Duration;

/// What RFC 6455 suites send at most, in bytes.
const LARGEST: usize = 16 << 20;
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn run(mut socket: Socket) {
    let mut decoder = Decoder::new(LARGEST);
    let mut input = std::mem::take(&mut socket.early);
    let mut output = BytesMut::new();
    let (code, ours) = 'open: loop {
        loop {
            match decoder.next(&mut input) {
                Ok(Some(Incoming::Text(text))) => put_text(&mut output, text.as_bytes()),
                Ok(Some(Incoming::Binary(bytes))) => put_binary(&mut output, &bytes),
                Ok(Some(Incoming::Ping(payload))) => put_pong(&mut output, &payload),
                Ok(Some(Incoming::Pong(_))) => {}
                Ok(Some(Incoming::Close(frame))) => {
                    break 'open (frame.map_or(1000, |frame| frame.code), false);
                }
                Ok(None) => break,
                Err(violation) => break 'open (violation.code, true),
            }
        }
        socket.writer.finish(None, &output, PATIENCE).await;
        output.clear();
        if !matches!(socket.reader.read(&mut input).await, Ok(1..)) {
            return socket.writer.close().await;
        }
    };
    put_close(&mut output, code, "");
    socket.writer.finish(None, &output, PATIENCE).await;
    if ours {
        socket.writer.end().await;
        linger(&mut socket.reader, Duration::from_secs(1)).await;
    }
    socket.writer.close().await;
}
