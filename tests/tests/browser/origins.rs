//! What a browser lets pages of other origins do with a server.

use dialogue::{Server, server::ServerBuilder};
use serde_json::json;
use tokio::sync::oneshot;

use crate::page::{Browsers, Look, Page, Result};

#[dialogue::event]
pub(crate) struct Message {
    pub(crate) text: String,
}

dialogue::rooms! {
    struct Acme;

    chat: [Message] via [websocket, sse];
}

/// A server at a port of its own, until the sender is dropped.
async fn serve(server: ServerBuilder<Acme>) -> Result<(u16, oneshot::Sender<()>)> {
    let server = Server::clone(&*server.build().await?);
    let listener = Server::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let (stop, stopped) = oneshot::channel();
    let routes = server.router();
    tokio::spawn(async move { server.serve_until(routes, listener, async { drop(stopped.await) }).await });
    Ok((port, stop))
}

/// What a page is told that sends an event, asks for what there isn't, and opens a stream.
async fn tries(page: &Page, port: u16) -> Result<serde_json::Value> {
    let script = format!(
        "const url = 'http://127.0.0.1:{port}'; \
         const read = (asked, field) => asked.then((answer) => answer.json()).then((body) => body[field], () => null); \
         const headers = {{ 'content-type': 'application/json', 'idempotency-key': 'once' }}; \
         const body = JSON.stringify({{ text: 'hello' }}); \
         const stream = fetch(url + '/events?room=chat', {{ headers: {{ 'last-event-id': '' }} }}); \
         return Promise.all([ \
             read(fetch(url + '/rooms/chat/events/message', {{ method: 'POST', headers, body }}), 'type'), \
             read(fetch(url + '/rooms/none/history'), 'code'), \
             stream.then((answer) => answer.body.cancel().then(() => answer.status), () => null), \
         ]);"
    );
    page.run(&script).await
}

#[tokio::test]
async fn a_listed_page_sends_and_reads_and_no_other_does() -> Result<()> {
    let browsers = Browsers::start().await?;
    let (pages, _pages) = serve(Acme::server()).await?;
    let (port, _server) = serve(Acme::server().allow_origin(format!("http://127.0.0.1:{pages}"))).await?;
    let page = browsers.open(Look::Desktop).await?;
    page.goto(&format!("http://127.0.0.1:{pages}/health")).await?;
    assert_eq!(tries(&page, port).await?, json!(["ok", "ROOM_NOT_FOUND", 200]));
    page.goto(&format!("http://localhost:{pages}/health")).await?;
    assert_eq!(tries(&page, port).await?, json!([null, null, null]));
    browsers.close([page]).await
}
