//! A server that pushes, and its users.

use std::{net::SocketAddr, pin::pin, time::Duration};

use dialogue::{
    Authenticator, Cx, Flow, Next, Push, Refusal, Server,
    identity::{AuthError, Authenticated, Credentials},
    notification::{Notification, PushEvent, Recipient},
    server::ServerBuilder,
};
use futures_util::{StreamExt, future::poll_immediate};
use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Bytes};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Message as Frame, client::IntoClientRequest},
};

use crate::Result;

#[dialogue::event(
    from = server,
    push(
        title = "{service} is down",
        body = "{detail}",
        url = "https://acme.example/{service}",
        icon = "/icon.png",
        urgency = high,
        ttl = 1h,
        collapse = service,
        data,
        after = 1ms
    )
)]
pub(crate) struct Alert {
    pub(crate) service: String,
    pub(crate) detail: String,
}

/// The time in which somebody may come back, and hears of no [`Patient`].
pub(crate) const GRACE: Duration = Duration::from_secs(3);

/// Of which nobody hears who comes back in time.
#[dialogue::event(from = server, push(title = "Patience", body = "", after = 3s))]
pub(crate) struct Patient;

/// Said to everybody.
#[dialogue::event(from = server, push(title = "Now", body = "", ttl = 1m, after = 1ms, always))]
pub(crate) struct Loud {
    pub(crate) number: u64,
}

/// In everybody's language, and not to its sender.
#[dialogue::event]
pub(crate) struct Greeting {
    pub(crate) by: String,
}

impl PushEvent for Greeting {
    const AFTER: Duration = Duration::from_millis(1);

    fn notification(&self, to: &Recipient<'_>) -> Option<Notification> {
        let title = if to.language() == Some("de") { "Hallo" } else { "Hello" };
        (to.user_id() != self.by)
            .then(|| Notification::new(title, format!("from {} in {}", to.from(), to.room_id())))
    }
}

#[dialogue::event]
pub(crate) struct Message {
    pub(crate) text: String,
}

/// Middleware that waits for nothing.
async fn hasty(cx: &Cx<Hasty>, event: Alert, next: impl Next<Hasty, Alert>) -> Flow {
    let waiting = pin!(next.run(cx, event));
    poll_immediate(waiting).await.unwrap_or_else(|| Err(Refusal::blocked("that takes too long")))
}

dialogue::rooms! {
    pub(crate) struct Acme;

    hasty: [Alert] via [webpush] with [fn hasty];

    alerts: [Alert, Patient, Loud, Greeting] via [webpush, websocket];

    project(u64): [Alert] via [webpush];

    #[room(role = "member")]
    members: [Alert] via [webpush];

    chat: [Message] via [websocket];
}

/// A token is its user's name.
pub(crate) struct ByName;

impl Authenticator for ByName {
    type Identity = ();

    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Authenticated<()>, AuthError> {
        credentials.token().map(|name| Authenticated::new(name, ())).ok_or(AuthError::Rejected)
    }
}

/// What a server has beside its push.
pub(crate) type Configured = Box<dyn FnOnce(ServerBuilder<Acme, ()>) -> ServerBuilder<Acme, ()> + Send>;

/// A server that listens.
pub(crate) struct Running {
    pub(crate) server: AcmeServer,
    pub(crate) address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

impl Running {
    pub(crate) async fn start(push: Push) -> Result<Self> {
        Self::with(push, |server| server).await
    }

    pub(crate) async fn with(
        push: Push,
        configure: impl FnOnce(ServerBuilder<Acme, ()>) -> ServerBuilder<Acme, ()>,
    ) -> Result<Self> {
        let server = Acme::server().auth(ByName).push(push);
        let server = configure(server).build().await?;
        let listener = Server::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let (serving, routes) = (Server::clone(&server), server.router());
        let stopped = async move { drop(stopped.await) };
        tokio::spawn(async move { serving.serve_until(routes, listener, stopped).await });
        Ok(Running { server, address, _stop: stop })
    }

    pub(crate) async fn alert(&self, service: &str) -> Result<dialogue::wire::Accepted, Refusal> {
        let alert = Alert { service: service.to_owned(), detail: "no answer".to_owned() };
        self.server.alerts().trigger(alert).await
    }

    /// An HTTP request of a user: the status, and the answer.
    pub(crate) async fn ask(
        &self,
        user: &str,
        method: &str,
        path: &str,
        body: Value,
    ) -> Result<(u16, Value)> {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address))
            .header("authorization", format!("Bearer {user}"))
            .header("content-type", "application/json")
            .body(Full::<Bytes>::from(body.to_string()))?;
        let answer = Client::builder(TokioExecutor::new()).build_http().request(request).await?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await?.to_bytes();
        Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
    }

    /// Registers a device by its token.
    pub(crate) async fn register(&self, user: &str, provider: &str, token: &str) -> Result<()> {
        self.register_for(user, json!({ "provider": provider, "token": token, "rooms": ["alerts"] })).await
    }

    pub(crate) async fn register_for(&self, user: &str, body: Value) -> Result<()> {
        match self.ask(user, "POST", "/push", body).await? {
            (200, _) => Ok(()),
            answer => Err(format!("{answer:?}").into()),
        }
    }

    /// A user in the room `alerts`, over a socket; the events that come.
    pub(crate) async fn join(&self, user: &str) -> Result<Socket> {
        let mut request = format!("ws://{}/ws", self.address).into_client_request()?;
        request.headers_mut().insert("authorization", format!("Bearer {user}").parse()?);
        let (stream, _) = connect_async(request).await?;
        let mut socket = Socket(stream);
        socket.send(json!({ "type": "join", "id": 1, "roomId": "alerts" })).await?;
        socket.until("joined").await?;
        Ok(socket)
    }

    /// How pushes through a provider have fared.
    pub(crate) fn counts(&self, provider: &str) -> dialogue::push::PushCounts {
        let counts = self.server.pushes();
        counts.into_iter().find(|(name, _)| *name == provider).map(|(_, counts)| counts).unwrap_or_default()
    }

    /// Waits until `check` holds of them.
    pub(crate) async fn until(
        &self,
        provider: &str,
        check: impl Fn(&dialogue::push::PushCounts) -> bool,
    ) -> Result<()> {
        let counted = async {
            while !check(&self.counts(provider)) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let waited = deadline::within(Duration::from_secs(40), "pushes are counted", counted).await;
        waited.map_err(|late| format!("{late}: {:?}", self.counts(provider)).into())
    }
}

/// A user's socket.
pub(crate) struct Socket(
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>,
);

impl Socket {
    pub(crate) async fn send(&mut self, frame: Value) -> Result<()> {
        use futures_util::SinkExt;
        Ok(self.0.send(Frame::text(frame.to_string())).await?)
    }

    /// The next frame of that type.
    pub(crate) async fn until(&mut self, kind: &str) -> Result<Value> {
        let coming = async {
            while let Some(frame) = self.0.next().await {
                let frame: Value = serde_json::from_str(frame?.to_text()?).unwrap_or_default();
                if frame["type"] == kind {
                    return Ok(frame);
                }
            }
            Err("the socket was closed".into())
        };
        deadline::within(Duration::from_secs(40), kind, coming).await?
    }
}
