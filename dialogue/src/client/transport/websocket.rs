//! A WebSocket.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use ::http::{
    HeaderMap, HeaderValue,
    header::{ORIGIN, SEC_WEBSOCKET_PROTOCOL},
};
use futures_util::{Sink, Stream};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        self, Message, Utf8Bytes,
        client::IntoClientRequest,
        protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode},
    },
};

use super::{Address, Io};
use crate::client::{
    core::Loss,
    error::{Error, ErrorKind},
    frame::ErrorFrame,
};

/// A frame of the server may have so many bytes: a page of history is the largest.
const LARGEST: usize = 16 << 20;
/// A farewell may take so long.
const FAREWELL: Duration = Duration::from_millis(250);

/// An open socket. What is queued is written while the next event is waited for, so that neither direction ever waits
/// for the other.
pub(crate) struct Socket {
    stream: WebSocketStream<Io>,
    out: VecDeque<Message>,
    unflushed: bool,
}

/// What a socket has to say.
#[derive(Debug)]
pub(crate) enum Event {
    Text(Utf8Bytes),
    /// A ping or a pong.
    Alive,
    Lost(Loss),
}

impl Socket {
    /// Opens the socket.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the connection.
    pub(crate) async fn open(address: &Address, headers: HeaderMap) -> Result<Self, Loss> {
        let io = address.dial().await.map_err(Loss::Failed)?;
        let failed = |error: tungstenite::Error| {
            Loss::Failed(Error::caused(ErrorKind::Connect, "open the WebSocket", error))
        };
        let mut request = address.socket_url("/ws").into_client_request().map_err(failed)?;
        request.headers_mut().extend(headers);
        request.headers_mut().remove(ORIGIN);
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("dialogue.v1"));
        let config = WebSocketConfig::default()
            .read_buffer_size(16 << 10)
            .max_message_size(Some(LARGEST))
            .max_frame_size(Some(LARGEST))
            .max_write_buffer_size(1 << 20);
        match client_async_with_config(request, io, Some(config)).await {
            Ok((stream, _)) => Ok(Socket { stream, out: VecDeque::new(), unflushed: false }),
            Err(tungstenite::Error::Http(answer)) => {
                let body = answer.body().as_deref().unwrap_or_default();
                let refusal = serde_json::from_slice::<ErrorFrame>(body).ok().map(Into::into);
                Err(Loss::Answered { status: answer.status().as_u16(), refusal })
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Queues a frame; [`next`](Socket::next) writes it.
    pub(crate) fn queue(&mut self, text: String) {
        self.out.push_back(Message::text(text));
    }

    pub(crate) fn ping(&mut self) {
        self.out.push_back(Message::Ping(bytes::Bytes::new()));
    }

    /// How many frames wait to be written.
    pub(crate) fn queued(&self) -> usize {
        self.out.len()
    }

    /// Writes what is queued, and waits for the next event.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub(crate) async fn next(&mut self) -> Event {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    /// Writes what is queued and says goodbye, for a moment at most.
    pub(crate) async fn close(mut self) {
        self.out.push_back(Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() })));
        let farewell = std::future::poll_fn(|cx| self.poll_write(cx));
        let _sent = tokio::time::timeout(FAREWELL, farewell).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if let Poll::Ready(Err(error)) = self.poll_write(cx) {
            // The close frame that says why may still be there to read.
            tracing::debug!(%error, "writing to the socket failed");
            self.out.clear();
            self.unflushed = false;
        }
        let event = match ready!(Pin::new(&mut self.stream).poll_next(cx)) {
            Some(Ok(Message::Text(text))) => Event::Text(text),
            Some(Ok(Message::Close(frame))) => {
                Event::Lost(Loss::Closed(frame.map(|frame| u16::from(frame.code))))
            }
            Some(Ok(_)) => Event::Alive,
            Some(Err(error)) => {
                Event::Lost(Loss::Failed(Error::caused(ErrorKind::Connect, "read from the socket", error)))
            }
            None => Event::Lost(Loss::Closed(None)),
        };
        Poll::Ready(event)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), tungstenite::Error>> {
        while !self.out.is_empty() {
            ready!(Pin::new(&mut self.stream).poll_ready(cx))?;
            if let Some(message) = self.out.pop_front() {
                self.unflushed = true;
                Pin::new(&mut self.stream).start_send(message)?;
            }
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}
