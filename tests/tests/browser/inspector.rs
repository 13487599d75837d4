//! The inspector's page: what an operator sees of a server that is in use.

use dialogue::{RoomHandle, Server};

use super::page::{Browsers, Look, Page, Result};

const KEY: &str = "a key of the application's own";

/// Said by a member.
#[dialogue::event]
pub(crate) struct Message {
    /// What is said.
    #[validate(length(min = 1, max = 2000))]
    pub(crate) text: String,
}

/// Somebody is at the keyboard.
#[dialogue::event(ephemeral)]
pub(crate) struct Typing {
    /// Whether they are.
    pub(crate) active: bool,
}

/// What a share costs.
#[dialogue::event(latest = symbol, from = server)]
pub(crate) struct Price {
    /// Of what.
    pub(crate) symbol: String,
    /// How much.
    pub(crate) cents: u64,
}

dialogue::rooms! {
    pub(crate) struct Inspected;

    /// Where everybody talks.
    #[room(capacity = 10_000, presence)]
    chat: [Message, Typing] via [websocket, sse];

    /// What shares cost, as it changes.
    ticker: [Price] via [sse, websocket];

    /// One for each project.
    #[room(role = "member")]
    project(u64): [Message] via [websocket];
}

/// A server with something going on.
async fn serve() -> Result<(InspectedServer, String)> {
    let server = Inspected::server().server_key(KEY).store(dialogue::store::Memory::new()).inspector();
    let server = server.build().await?;
    let listener = Server::bind("127.0.0.1:0").await?;
    let (address, app, serving) = (listener.local_addr()?, server.router(), (*server).clone());
    tokio::spawn(async move { serving.serve_until(app, listener, std::future::pending()).await });
    for number in 1..=3 {
        server.project(number).trigger(Message { text: format!("Project {number} begins") }).await?;
    }
    server.ticker().trigger(Price { symbol: "ACME".into(), cents: 4_200 }).await?;
    Ok((server, format!("http://{address}/dialogue")))
}

async fn enter(browsers: &Browsers, url: &str, look: Look) -> Result<Page> {
    let page = browsers.open(look).await?;
    page.goto(url).await?;
    page.type_into("key", &format!("{KEY}\u{e007}")).await?;
    page.shows("[data-testid=board]:not([hidden])").await?;
    Ok(page)
}

/// A member over a socket of the page's own.
const JOIN: &str = "const socket = new WebSocket(location.href.replace('http', 'ws').replace('/dialogue', '/ws')); \
    window.socket = socket; \
    socket.onopen = () => socket.send(JSON.stringify({ type: 'join', id: 1, roomId: 'chat' })); \
    return null";

async fn say(chat: &RoomHandle<Chat>, texts: &[&str]) -> Result<()> {
    for text in texts {
        chat.trigger(Message { text: (*text).into() }).await?;
    }
    Ok(())
}

async fn watch(page: &Page, chat: &RoomHandle<Chat>, texts: &[&str]) -> Result<()> {
    page.counts("[data-testid=instance]", 5).await?;
    page.run("[...document.querySelectorAll('[data-testid=instance]')].find((e) => e.textContent.startsWith('chat')).click()")
        .await?;
    page.sees("tail-title", "chat").await?;
    page.sees("tail-state", "Waiting for events…").await?;
    say(chat, texts).await?;
    page.counts("[data-testid=line]", texts.len()).await?;
    page.sees_part("line", texts.last().ok_or("nothing is said")?).await
}

#[tokio::test]
async fn an_operator_sees_what_happens() -> Result<()> {
    let (browsers, (server, url)) = (Browsers::start().await?, serve().await?);
    let page = enter(&browsers, &url, Look::Desktop).await?;
    page.counts("[data-testid=room]", 3).await?;
    page.counts("[data-testid=event]", 4).await?;
    page.counts("[data-testid=instance]", 5).await?;
    page.run(JOIN).await?;
    page.sees_part("facts", "1 connection · 1 joined, 0 resumed").await?;
    let texts =
        ["Is anybody there?", "Yes, on my phone.", "Then look at the new board.", "It has all of it."];
    watch(&page, &server.chat(), &texts).await?;
    page.counts("[data-testid=member]", 1).await?;
    page.sees_part("event", "4 in all").await?;
    page.sees_part("tiles", "Storeup").await?;
    page.run("document.querySelector('[data-testid=event] details').open = true").await?;
    page.sees_part("event", "#[validate(length(min = 1, max = 2000))] text: String").await?;
    page.fits().await?;
    page.picture("inspector").await?;
    browsers.close([page]).await
}

#[tokio::test]
async fn it_fits_a_phone_in_the_dark() -> Result<()> {
    let (browsers, (server, url)) = (Browsers::start().await?, serve().await?);
    let page = enter(&browsers, &url, Look::DarkPhone).await?;
    page.counts("[data-testid=room]", 3).await?;
    page.fits().await?;
    page.picture("inspector-phone").await?;
    watch(&page, &server.chat(), &["A long word: Donaudampfschifffahrtsgesellschaftskapitänswitwenrente"])
        .await?;
    page.fits().await?;
    page.picture("inspector-phone-tail").await?;
    page.click("close").await?;
    page.shows("[data-testid=tail][hidden]").await?;
    browsers.close([page]).await
}

#[tokio::test]
async fn it_is_for_whoever_has_a_key() -> Result<()> {
    let (browsers, (_server, url)) = (Browsers::start().await?, serve().await?);
    let page = browsers.open(Look::Desktop).await?;
    page.goto(&url).await?;
    page.type_into("key", "another key, just as long\u{e007}").await?;
    page.sees("door-notice", "That is none of this server's keys.").await?;
    for path in ["inspect", "inspect?room=chat", "tail/chat"] {
        let status = format!("return fetch('dialogue/{path}').then(({{ status }}) => status)");
        assert_eq!(page.run(&status).await?, 401, "{path}");
    }
    let asked = "return performance.getEntriesByType('resource').filter(({ name }) => !name.startsWith(location.origin)).length";
    assert_eq!(page.run(asked).await?, 0, "nothing comes from elsewhere");
    page.type_into("key", &format!("{KEY}\u{e007}")).await?;
    page.shows("[data-testid=board]:not([hidden])").await?;
    page.reload().await?;
    page.shows("[data-testid=board]:not([hidden])").await?;
    page.click("sign-out").await?;
    page.shows("[data-testid=door]:not([hidden])").await?;
    browsers.close([page]).await
}

#[tokio::test]
async fn without_a_key_there_is_none() {
    let error = Inspected::server().inspector().build().await.err().map(|error| error.to_string());
    assert!(error.is_some_and(|error| error.contains("server_key")));
}
