//! The examples' pages in real browsers: what a person sees, over broken networks and restarts of the server too.
//!
//! Pictures go to `tests/.pictures`; with `PICTURES=1` the README's is made anew as well.

mod alerts;
mod cluster;
mod example;
mod inspector;
mod lobby;
mod origins;
mod page;
mod tunnel;

use std::path::Path;

use example::Example;
use page::{Browsers, Look, Page, Result, eventually};
use tunnel::Tunnel;

const RESTARTED: &str = "The server restarted; messages from before it are only in this tab";

#[tokio::test]
async fn what_one_says_the_other_sees() -> Result<()> {
    let (browsers, server) = (Browsers::start().await?, Example::start("chat").await?);
    let (ada, ben) = meet(&browsers, &server.url(), &server.url()).await?;

    ada.type_into("text", "Is anybody th").await?;
    is_seen_typing(&ada, &ben, "Ada is typing").await?;
    ada.type_into("text", "ere?\u{e007}").await?;
    ben.says(&["Is anybody there?"]).await?;
    ben.sees("typing", "").await?;
    say(&ben, "Yes, on my phone.").await?;

    ada.says(&["Is anybody there?", "Yes, on my phone."]).await?;
    ada.sees("author", "Ada\nBen").await?;
    ada.counts("[data-state=sent]", 1).await?;
    ada.sees("state-text", "Live · 2 people here").await?;
    browsers.close([ada, ben]).await
}

#[tokio::test]
async fn a_reload_shows_the_history_and_whose_it_is() -> Result<()> {
    let (browsers, server) = (Browsers::start().await?, Example::start("chat").await?);
    let (ada, ben) = meet(&browsers, &server.url(), &server.url()).await?;
    say(&ada, "Mine").await?;
    ben.says(&["Mine"]).await?;
    say(&ben, "Yours").await?;
    ada.says(&["Mine", "Yours"]).await?;

    ada.reload().await?;
    ada.says(&["Mine", "Yours"]).await?;
    ada.counts(".message.mine", 1).await?;
    say(&ada, "Still mine").await?;
    ben.says(&["Mine", "Yours", "Still mine"]).await?;
    ada.counts(".message.mine", 2).await?;
    browsers.close([ada, ben]).await
}

#[tokio::test]
async fn earlier_messages_come_by_the_page() -> Result<()> {
    let (browsers, server) = (Browsers::start().await?, Example::start("chat").await?);
    let ada = join(&browsers, &server.url(), "Ada", Look::Desktop).await?;
    let lines = numbered(70);
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    ada.says_at_intervals(&lines, 0).await?;
    ada.counts("[data-state=sent]", lines.len()).await?;

    ada.reload().await?;
    ada.says(&lines[20..]).await?;
    ada.click("earlier").await?;
    ada.says(&lines).await?;
    ada.counts("[data-testid=earlier]", 0).await?;
    browsers.close([ada]).await
}

#[tokio::test]
async fn a_broken_network_loses_nothing() -> Result<()> {
    let (browsers, server) = (Browsers::start().await?, Example::start("chat").await?);
    let tunnel = Tunnel::to(server.addr()).await?;
    let (ada, ben) = meet(&browsers, &server.url(), &tunnel.url()).await?;
    say(&ada, "Before").await?;
    ben.says(&["Before"]).await?;

    tunnel.cut();
    ben.shows("[data-testid=state][data-phase=waiting]").await?;
    say(&ada, "Meanwhile").await?;
    say(&ben, "From inside").await?;
    say(&ben, "And again").await?;
    ben.sees_part("state-text", "2 unsent").await?;
    ben.picture("away").await?;
    ada.says(&["Before", "Meanwhile"]).await?;

    tunnel.mend();
    for page in [&ada, &ben] {
        page.says(&["Before", "Meanwhile", "From inside", "And again"]).await?;
        page.counts("[data-testid=divider]", 0).await?;
    }
    ben.counts("[data-state=sent]", 2).await?;
    browsers.close([ada, ben]).await
}

#[tokio::test]
async fn a_deployment_doubles_nothing() -> Result<()> {
    let (browsers, mut server) = (Browsers::start().await?, Example::start("chat").await?);
    let (ada, ben) = meet(&browsers, &server.url(), &server.url()).await?;
    say(&ada, "Before").await?;
    ben.says(&["Before"]).await?;

    server.terminate().await?;
    ben.shows("[data-testid=state][data-phase=waiting]").await?;
    say(&ben, "While it was away").await?;

    server.restart().await?;
    for page in [&ada, &ben] {
        page.says(&["Before", "While it was away"]).await?;
        page.sees("divider", RESTARTED).await?;
        page.counts("[data-testid=pending] > *", 0).await?;
    }
    say(&ada, "After").await?;
    ben.says(&["Before", "While it was away", "After"]).await?;
    ben.picture("restarted").await?;
    browsers.close([ada, ben]).await
}

#[tokio::test]
async fn a_crash_amid_a_burst_doubles_nothing() -> Result<()> {
    let (browsers, mut server) = (Browsers::start().await?, Example::start("chat").await?);
    let (ada, ben) = meet(&browsers, &server.url(), &server.url()).await?;
    let lines = numbered(60);
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    ada.says_at_intervals(&lines, 50).await?;
    ben.shows("[data-testid=message]:nth-child(10)").await?;
    server.kill().await?;
    server.restart().await?;

    // Each line once and in order; what Ben misses was accepted by the server that is gone, and the line says so.
    ada.says(&lines).await?;
    ben.sees_part("message-text", "Line 60").await?;
    let seen = ben.texts("[data-testid=message-text]").await?;
    assert!(seen.is_sorted_by(|one, next| number(one) < number(next)), "Ben sees {seen:?}");
    let resent = ada.texts(".segment:last-child [data-testid=message-text]").await?;
    assert!(resent.iter().all(|line| seen.contains(line)), "of {resent:?} Ben sees only {seen:?}");
    for page in [&ada, &ben] {
        page.sees("divider", RESTARTED).await?;
    }
    browsers.close([ada, ben]).await
}

#[tokio::test]
async fn what_was_not_sent_survives_a_reload() -> Result<()> {
    let (browsers, mut server) = (Browsers::start().await?, Example::start("chat").await?);
    let ada = join(&browsers, &server.url(), "Ada", Look::Desktop).await?;
    server.kill().await?;
    ada.shows("[data-testid=state][data-phase=waiting]").await?;
    say(&ada, "Hold on to this").await?;

    // The tab goes elsewhere, so that its page is gone, and comes back to a server that never signed its token.
    ada.goto("about:blank").await?;
    server.restart().await?;
    ada.goto(&server.url()).await?;
    ada.says(&["Hold on to this"]).await?;
    ada.counts("[data-state=sent]", 1).await?;
    browsers.close([ada]).await
}

#[tokio::test]
async fn the_chat_works_over_a_stream() -> Result<()> {
    let (browsers, mut server) = (Browsers::start().await?, Example::start("chat").await?);
    let stream = format!("{}?transport=sse", server.url());
    let (ada, ben) = meet(&browsers, &server.url(), &stream).await?;
    say(&ben, "Over a stream").await?;
    ada.says(&["Over a stream"]).await?;
    ben.counts("[data-state=sent]", 1).await?;

    server.terminate().await?;
    say(&ben, "Said to nobody").await?;
    server.restart().await?;
    for page in [&ada, &ben] {
        page.says(&["Over a stream", "Said to nobody"]).await?;
    }
    browsers.close([ada, ben]).await
}

#[tokio::test]
async fn a_feed_grows_and_goes_on_where_it_was() -> Result<()> {
    let (browsers, mut server) = (Browsers::start().await?, Example::start("feed").await?);
    let tunnel = Tunnel::to(server.addr()).await?;
    let (ada, ben) = (browsers.open(Look::Desktop).await?, browsers.open(Look::DarkPhone).await?);
    for (page, url) in [(&ada, server.url()), (&ben, tunnel.url())] {
        page.goto(&url).await?;
        page.shows("[data-testid=state][data-phase=live]").await?;
        page.shows("[data-testid=post]").await?;
    }
    ben.click("start").await?;
    ada.sees_part("note", "job-1 · ").await?;
    ada.picture("feed").await?;

    tunnel.cut();
    ben.leaves("[data-testid=state][data-phase=live]").await?;
    ada.sees("percent", "100 %").await?;
    ada.sees_part("post-title", "Search index rebuilt").await?;
    tunnel.mend();
    ben.sees("percent", "100 %").await?;
    ben.sees_after("post-title", &ada.texts("[data-testid=post-title]").await?.join("\n")).await?;
    ben.counts("[data-testid=gap]", 0).await?;

    server.kill().await?;
    ada.leaves("[data-testid=state][data-phase=live]").await?;
    server.restart().await?;
    ada.shows("[data-testid=state][data-phase=live]").await?;
    ada.counts("[data-testid=gap]", 1).await?;
    browsers.close([ada, ben]).await
}

#[tokio::test]
async fn a_narrow_phone_scrolls_only_one_way() -> Result<()> {
    let browsers = Browsers::start().await?;
    let (mut chat, feed) = (Example::start("chat").await?, Example::start("feed").await?);
    let ben = join(&browsers, &chat.url(), "Benedict the Rather Long-Winded", Look::DarkPhone).await?;
    say(&ben, &"wide".repeat(60)).await?;
    ben.counts("[data-state=sent]", 1).await?;
    ben.fits().await?;
    chat.kill().await?;
    ben.shows("[data-testid=state][data-phase=waiting]").await?;
    say(&ben, "https://example.org/an/address/that/no/line/of/a/phone/can/hold/without/breaking").await?;
    ben.sees_part("state-text", "1 unsent").await?;
    ben.fits().await?;

    ben.goto(&feed.url()).await?;
    ben.click("start").await?;
    ben.shows("[data-testid=job]").await?;
    ben.fits().await?;
    ben.picture("feed-phone").await?;
    browsers.close([ben]).await
}

/// Not a test of anything: the picture that the README shows.
#[tokio::test]
async fn the_picture_of_the_readme() -> Result<()> {
    let (browsers, server) = (Browsers::start().await?, Example::start("chat").await?);
    let (ada, ben) = meet(&browsers, &server.url(), &server.url()).await?;
    let said = [
        (&ada, "Morning! Did the deployment go through?"),
        (&ben, "Yes, from the train."),
        (&ben, "Two tunnels on the way, and nothing is missing here."),
        (&ada, "Your tab knows its place, the server sends the rest."),
        (&ben, "And what I wrote in the tunnel?"),
        (&ada, "Came out in order. Once."),
    ];
    for (told, (page, text)) in said.into_iter().enumerate() {
        say(page, text).await?;
        for reader in [&ada, &ben] {
            reader.counts("[data-eventid]", told + 1).await?;
        }
    }
    ben.type_into("text", "I could get used to").await?;
    is_seen_typing(&ben, &ada, "Ben is typing").await?;
    let phone = ben.picture("chat-phone").await?;
    ada.holds_beside(&phone).await?;
    let both = ada.picture("chat").await?;
    if std::env::var_os("PICTURES").is_some() {
        let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/chat/picture.png");
        std::fs::copy(both, readme)?;
    }
    browsers.close([ada, ben]).await
}

/// Ada at a desk and Ben on the phone, both in the chat and live.
async fn meet(browsers: &Browsers, ada: &str, ben: &str) -> Result<(Page, Page)> {
    tokio::try_join!(join(browsers, ada, "Ada", Look::Desktop), join(browsers, ben, "Ben", Look::DarkPhone))
}

/// Opens the chat under a name, and waits until it is live.
async fn join(browsers: &Browsers, url: &str, name: &str, look: Look) -> Result<Page> {
    let page = browsers.open(look).await?;
    page.goto(url).await?;
    page.shows("[data-testid=state][data-phase=live]").await?;
    page.fill("name", name).await?;
    Ok(page)
}

/// Waits until a reader is told of somebody who goes on typing: for a few seconds each time.
async fn is_seen_typing(writer: &Page, reader: &Page, told: &str) -> Result<()> {
    const TYPES: &str = "document.querySelector('[data-testid=text]').dispatchEvent(new Event('input'))";
    eventually(told, async || {
        writer.run(TYPES).await?;
        Ok((reader.texts("[data-testid=typing]").await? == [told]).then_some(()))
    })
    .await
}

async fn say(page: &Page, text: &str) -> Result<()> {
    page.type_into("text", &format!("{text}\u{e007}")).await
}

fn numbered(lines: usize) -> Vec<String> {
    (1..=lines).map(|line| format!("Line {line}")).collect()
}

fn number(line: &str) -> Option<usize> {
    line.strip_prefix("Line ")?.parse().ok()
}
