//! The example `alerts`: what comes live, and what its service worker shows for a push.

use std::path::Path;

use serde_json::{Value, json};

use crate::{
    example::Example,
    page::{Browsers, Look, Page, Result, eventually},
};

/// What the server pushes, as it is once the browser has decrypted it.
fn pushed(service: &str, detail: &str) -> Value {
    json!({
        "title": format!("{service} is down"),
        "body": detail,
        "icon": "/icon.svg",
        "url": format!("/#{service}"),
        "roomId": "alerts",
        "event": "alert",
        "position": { "epoch": "k2f9", "seq": 1, "eventId": "e" },
        "timestamp": 1_700_000_000_000_u64,
        "collapse": service,
    })
}

/// Delivers a push to the page's service worker, as the browser does.
async fn push(page: &Page, origin: &str, payload: &Value) -> Result<()> {
    page.command("ServiceWorker.enable", json!({})).await?;
    // A new browser's first registration.
    let delivery = json!({ "origin": origin, "registrationId": "0", "data": payload.to_string() });
    page.command("ServiceWorker.deliverPushMessage", delivery).await.map(drop)
}

/// The titles and bodies of the notifications that the browser shows.
async fn shown(page: &Page) -> Result<Value> {
    page.run(
        "return navigator.serviceWorker.ready.then((worker) => worker.getNotifications()) \
             .then((shown) => shown.map(({ title, body, tag }) => [title, body, tag]));",
    )
    .await
}

/// Delivers a push until the browser shows what is expected: on a busy machine, a worker that has just come may miss one. The
/// same notification again takes its own place.
async fn until_shown(page: &Page, origin: &str, payload: &Value, expected: Value) -> Result<()> {
    until_shows(page, origin, payload, &expected.to_string(), |shown| *shown == expected).await
}

async fn until_shows(
    page: &Page,
    origin: &str,
    payload: &Value,
    what: &str,
    is: impl Fn(&Value) -> bool,
) -> Result<()> {
    const LOOKS: u32 = 50;
    let mut looks = 0;
    eventually(what, async || {
        if looks % LOOKS == 0 {
            push(page, origin, payload).await?;
        }
        looks += 1;
        Ok(is(&shown(page).await?).then_some(()))
    })
    .await
}

async fn open(browsers: &Browsers, server: &Example) -> Result<(Page, String)> {
    let page = browsers.open(Look::Desktop).await?;
    let origin = server.url().trim_end_matches('/').to_owned();
    page.goto(&server.url()).await?;
    page.sees("state-text", "Live").await?;
    let permissions = json!({ "origin": origin, "permissions": ["notifications"] });
    page.command("Browser.grantPermissions", permissions).await?;
    let registered = "return navigator.serviceWorker.register('worker.js') \
        .then(() => navigator.serviceWorker.ready).then((worker) => worker.scope)";
    page.run(registered).await?;
    Ok((page, origin))
}

#[tokio::test]
async fn the_worker_shows_what_is_pushed() -> Result<()> {
    let (browsers, server) = (Browsers::start().await?, Example::start("alerts").await?);
    let (page, origin) = open(&browsers, &server).await?;
    let first = pushed("db", "no answer since 12:04");
    until_shown(&page, &origin, &first, json!([["db is down", "no answer since 12:04", "alerts/db"]]))
        .await?;
    page.sees("shown-title", "db is down").await?;
    // A newer one takes its place; another service's stands beside it.
    let newer = pushed("db", "still no answer");
    until_shown(&page, &origin, &newer, json!([["db is down", "still no answer", "alerts/db"]])).await?;
    let other = pushed("mail", "queue is full");
    until_shows(&page, &origin, &other, "two", |shown| shown.as_array().map(Vec::len) == Some(2)).await?;
    browsers.close([page]).await
}

#[tokio::test]
async fn a_terminal_raises_an_alert_and_clears_it() -> Result<()> {
    let (browsers, server) = (Browsers::start().await?, Example::start("alerts").await?);
    let (page, origin) = open(&browsers, &server).await?;
    server.runs(&["raise", "mail", "queue is full"]).await?;
    server.runs(&["clear", "mail"]).await?;
    server.runs(&["raise", "db", "no answer since 12:04"]).await?;
    page.sees_part("alerts", "db is down").await?;
    page.counts("[data-testid=alerts] > li", 3).await?;
    page.fits().await?;
    let raised = pushed("db", "no answer since 12:04");
    until_shown(&page, &origin, &raised, json!([["db is down", "no answer since 12:04", "alerts/db"]]))
        .await?;
    page.sees("shown-title", "db is down").await?;
    let picture = page.picture("alerts").await?;
    if std::env::var_os("PICTURES").is_some() {
        std::fs::copy(picture, Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/alerts/picture.png"))?;
    }
    // What one's own backend may, a stranger may not.
    assert!(server.runs(&["raise", "db"]).await.is_err());
    browsers.close([page]).await
}
