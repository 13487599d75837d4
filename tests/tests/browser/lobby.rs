//! The lobby of the example `rooms`: tables open and close, and people sit down, say things and are asked to leave.

use super::example::Example;
use super::page::{Browsers, Look, Page, Result, eventually};

const LIVE: &str = "[data-testid=state][data-phase=live]";

#[tokio::test]
async fn a_table_is_opened_shared_moderated_and_closed() -> Result<()> {
    let (browsers, server) = (Browsers::start().await?, Example::start("rooms").await?);
    let (ada, ben) = meet(&browsers, &server.url()).await?;

    open(&ada, "Chess").await?;
    ada.sees("title", "Chess").await?;
    ada.sees("member", "Ada (you)").await?;
    ben.sees("entry-name", "Chess").await?;
    ben.click("join").await?;
    ben.sees("member", "Ada\nBen (you)").await?;
    ada.sees("member", "Ada (you)\nBenKick").await?;
    ben.counts("[data-testid=kick]", 0).await?;
    assert_eq!(ben.run(&kick("sessionStorage['rooms.token']")).await?, 403, "Ben is no moderator");
    assert_eq!(ben.run(&kick("'forged'")).await?, 401);
    ben.type_into("text", "White, please.\u{e007}").await?;
    ada.sees("said-text", "White, please.").await?;
    ada.type_into("text", "As you like; I take the clock.\u{e007}").await?;
    ben.sees_part("said-text", "As you like").await?;
    ada.sees("size", "2 of 6").await?;
    ada.picture("rooms").await?;
    ben.fits().await?;
    ben.picture("rooms-phone").await?;

    ada.click("kick").await?;
    ben.sees("lobby-notice", "You left “Chess”: Ada asked you to leave").await?;
    ada.sees("member", "Ada (you)").await?;
    ben.click("join").await?;
    ben.sees_part("lobby-notice", "You can't sit at “Chess”: you were asked to leave; you may come back in")
        .await?;
    ben.fits().await?;
    ben.picture("rooms-kicked").await?;

    ada.click("close").await?;
    ada.click("close").await?;
    ada.sees_part("lobby-notice", "the room was deleted").await?;
    for page in [&ada, &ben] {
        page.counts("[data-testid=entry]", 0).await?;
        page.shows("[data-testid=empty]:not([hidden])").await?;
    }
    browsers.close([ada, ben]).await
}

#[tokio::test]
async fn a_full_table_says_so_and_a_moderator_makes_room() -> Result<()> {
    let (browsers, server) = (Browsers::start().await?, Example::start("rooms").await?);
    let (ada, ben) = meet(&browsers, &server.url()).await?;
    let cyd = browsers.open(Look::Desktop).await?;
    cyd.goto(&server.url()).await?;
    cyd.click("moderator").await?;
    sign_in(&cyd, "Cyd").await?;

    ada.run("document.querySelector('[data-testid=table-seats]').value = 2").await?;
    open(&ada, "Duet").await?;
    ben.sees("entry-name", "Duet").await?;
    ben.click("join").await?;
    ada.sees_part("member", "Ben").await?;
    cyd.sees("size", "2 of 2").await?;
    cyd.click("join").await?;
    cyd.sees_part("lobby-notice", "You can't sit at “Duet”").await?;
    ben.click("back").await?;
    ada.sees("member", "Ada (you)").await?;

    cyd.click("join").await?;
    cyd.click("kick").await?;
    ada.sees("lobby-notice", "You left “Duet”: Cyd asked you to leave").await?;
    browsers.close([ada, ben, cyd]).await
}

#[tokio::test]
async fn a_reload_and_newer_tokens_change_nothing() -> Result<()> {
    // Renewed at half of that: a busy browser may be late by the other half.
    let settings = &[("TOKEN_SECONDS", "24")];
    let (browsers, server) = (Browsers::start().await?, Example::start_with("rooms", settings).await?);
    let ada = browsers.open(Look::Desktop).await?;
    ada.goto(&server.url()).await?;
    sign_in(&ada, "Ada").await?;
    open(&ada, "Chess").await?;
    ada.sees("member", "Ada (you)").await?;

    // The first token is over; nobody noticed.
    ada.run(
        "window.broken = 0; const state = document.querySelector('[data-testid=state]'); \
         new MutationObserver(() => (window.broken += state.dataset.phase !== 'live')).observe(state, { attributes: true })",
    )
    .await?;
    let claim = "return JSON.parse(atob(sessionStorage['rooms.token'].split('.')[0]))";
    let expired = ada.run(&format!("{claim}.exp")).await?;
    let newer = format!("{claim}.iat > {expired}");
    eventually("newer tokens", async || Ok((ada.run(&newer).await? == true).then_some(()))).await?;
    ada.type_into("text", "Still here.\u{e007}").await?;
    ada.sees("said-text", "Still here.").await?;
    assert_eq!(ada.run("return window.broken").await?, 0);

    ada.reload().await?;
    ada.sees("title", "Chess").await?;
    ada.sees("member", "Ada (you)").await?;
    ada.sees("said-text", "Still here.").await?;
    browsers.close([ada]).await
}

#[tokio::test]
async fn a_restart_takes_the_tables_but_not_who_one_is() -> Result<()> {
    let settings = &[("TOKEN_SECRET", "a secret that outlives the process, as it has to")];
    let (browsers, mut server) = (Browsers::start().await?, Example::start_with("rooms", settings).await?);
    let (ada, ben) = meet(&browsers, &server.url()).await?;
    open(&ada, "Chess").await?;
    ada.sees("member", "Ada (you)").await?;

    server.terminate().await?;
    server.restart().await?;
    ada.sees("lobby-notice", "“Chess” is gone: the server restarted").await?;
    open(&ada, "Go").await?;
    ben.sees("entry-name", "Go").await?;
    browsers.close([ada, ben]).await
}

#[tokio::test]
async fn who_has_no_good_token_is_shown_the_door() -> Result<()> {
    let (browsers, mut server) = (Browsers::start().await?, Example::start("rooms").await?);
    let ada = browsers.open(Look::Desktop).await?;
    ada.goto(&server.url()).await?;
    sign_in(&ada, "Ada").await?;
    // It signs with another secret now.
    server.kill().await?;
    server.restart().await?;
    ada.sees("door-notice", "You were signed out: a login is needed").await?;
    ada.picture("rooms-door").await?;
    ada.run("document.querySelector('[data-testid=name]').value = ''").await?;
    sign_in(&ada, "Ada").await?;
    browsers.close([ada]).await
}

/// Ada at a desk and Ben on the phone, both signed in and live.
async fn meet(browsers: &Browsers, url: &str) -> Result<(Page, Page)> {
    let (ada, ben) = (browsers.open(Look::Desktop).await?, browsers.open(Look::DarkPhone).await?);
    for (page, name) in [(&ada, "Ada"), (&ben, "Ben")] {
        page.goto(url).await?;
        page.fits().await?;
        sign_in(page, name).await?;
    }
    Ok((ada, ben))
}

async fn sign_in(page: &Page, name: &str) -> Result<()> {
    page.type_into("name", &format!("{name}\u{e007}")).await?;
    page.shows(LIVE).await?;
    page.sees("me", name).await
}

async fn open(page: &Page, table: &str) -> Result<()> {
    page.type_into("table-about", "For whoever comes by").await?;
    page.type_into("table-name", &format!("{table}\u{e007}")).await
}

/// A script that asks the server to put the page's own user out of the table where the page is, and yields the status.
fn kick(token: &str) -> String {
    format!(
        "const [, key] = location.hash.split(':'); \
         const userId = JSON.parse(atob(sessionStorage['rooms.token'].split('.')[0])).user; \
         const headers = {{ 'Content-Type': 'application/json', Authorization: `Bearer ${{{token}}}` }}; \
         return fetch(`tables/${{key}}/kick`, {{ method: 'POST', headers, body: JSON.stringify({{ userId }}) }}) \
             .then(({{ status }}) => status)"
    )
}
