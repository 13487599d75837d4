//! A server of Apple's that goes away in the middle of what it was asked.

use std::sync::{Arc, Mutex};

use h2::{Reason, RecvStream, server::SendResponse};
use hyper::{Request, Response, body::Bytes};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::authority;
use crate::Result;

/// On its first connection it refuses some requests, answers some, leaves as many as there may be at once unanswered, and
/// goes; on the next it answers all.
pub(crate) struct Leaver {
    port: u16,
    /// What it did: by connection, the path of a request.
    pub(crate) done: Done,
}

type Done = Arc<Mutex<Vec<(usize, String)>>>;

/// Requests on the first connection that are refused.
const REFUSED: usize = 5;
/// The first that is left unanswered.
const SILENT: usize = REFUSED + Leaver::ANSWERED + 1;
/// Requests that a client may make at once: once it has made that many more, it has read the answers to those before.
const AT_ONCE: usize = 10;

impl Leaver {
    /// Requests on the first connection that are answered.
    pub(crate) const ANSWERED: usize = 10;

    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (port, done) = (listener.local_addr()?.port(), Done::default());
        let (tls, does) = (TlsAcceptor::from(authority().server()?), Arc::clone(&done));
        tokio::spawn(async move {
            for connection in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                tokio::spawn(serve(tls.clone(), stream, connection, Arc::clone(&does)));
            }
        });
        Ok(Leaver { port, done })
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }
}

async fn serve(tls: TlsAcceptor, stream: TcpStream, number: usize, done: Done) -> Result<()> {
    let mut server = h2::server::Builder::new();
    server.max_concurrent_streams(AT_ONCE as u32);
    let mut connection = server.handshake(tls.accept(stream).await?).await?;
    let mut unanswered = Vec::new();
    for count in 1.. {
        let Some(Ok((request, mut respond))) = connection.accept().await else { break };
        match count {
            ..=REFUSED if number == 0 => respond.send_reset(Reason::REFUSED_STREAM),
            SILENT.. if number == 0 => unanswered.push((request, respond)),
            _ => _ = tokio::spawn(answer(request, respond, number, Arc::clone(&done))),
        }
        if number == 0 && unanswered.len() == AT_ONCE {
            connection.abrupt_shutdown(Reason::NO_ERROR);
        }
    }
    Ok(())
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    number: usize,
    done: Done,
) -> Result<()> {
    let path = request.uri().path().to_owned();
    let mut body = request.into_body();
    while let Some(chunk) = body.data().await {
        body.flow_control().release_capacity(chunk?.len())?;
    }
    done.lock().expect("nobody panicked").push((number, path));
    respond.send_response(Response::new(()), true)?;
    Ok(())
}
