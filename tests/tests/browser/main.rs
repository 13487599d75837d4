//! The examples' pages in real browsers: what a person sees, over restarts of the server too.
//!
//! Pictures go to `tests/.pictures`; with `PICTURES=1` the README's are made anew as well.

mod example;
mod page;

use example::Example;
use page::{Browsers, Look, Page, Result};

#[tokio::test]
async fn what_one_says_the_other_sees() -> Result<()> {
    let (server, browsers) = (Example::start("chat").await?, Browsers::start().await?);
    let ada = join(&browsers, &server, "Ada", Look::Desktop).await?;
    let ben = join(&browsers, &server, "Ben", Look::DarkPhone).await?;

    ada.type_into("text", "Is anybody th").await?;
    ben.sees("typing", "Ada is typing").await?;
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
    let (server, browsers) = (Example::start("chat").await?, Browsers::start().await?);
    let ada = join(&browsers, &server, "Ada", Look::Desktop).await?;
    let ben = join(&browsers, &server, "Ben", Look::Desktop).await?;
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
    let (server, browsers) = (Example::start("chat").await?, Browsers::start().await?);
    let ada = join(&browsers, &server, "Ada", Look::Desktop).await?;
    let all: Vec<String> = (1..=70).map(|line| format!("Line {line}")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    for line in &all {
        say(&ada, line).await?;
    }
    ada.counts("[data-state=sent]", all.len()).await?;

    ada.reload().await?;
    ada.says(&all[20..]).await?;
    ada.click("earlier").await?;
    ada.says(&all).await?;
    ada.counts("[data-testid=earlier]", 0).await?;
    browsers.close([ada]).await
}

#[tokio::test]
async fn nothing_is_lost_or_doubled_over_a_restart() -> Result<()> {
    let (mut server, browsers) = (Example::start("chat").await?, Browsers::start().await?);
    let ada = join(&browsers, &server, "Ada", Look::Desktop).await?;
    let ben = join(&browsers, &server, "Ben", Look::DarkPhone).await?;
    say(&ada, "Before").await?;
    ben.says(&["Before"]).await?;

    server.kill().await?;
    ben.shows("[data-testid=state][data-phase=waiting]").await?;
    say(&ben, "While it was away").await?;
    ben.sees_part("state-text", "1 unsent").await?;
    ben.picture("away").await?;

    server.restart().await?;
    ada.says(&["Before", "While it was away"]).await?;
    ben.says(&["Before", "While it was away"]).await?;
    for page in [&ada, &ben] {
        page.sees("divider", "The server restarted; messages from before it are only in this tab").await?;
        page.counts("[data-testid=pending] > *", 0).await?;
    }
    say(&ada, "After").await?;
    ben.says(&["Before", "While it was away", "After"]).await?;
    ben.picture("restarted").await?;
    browsers.close([ada, ben]).await
}

#[tokio::test]
async fn what_was_not_sent_survives_a_reload() -> Result<()> {
    let (mut server, browsers) = (Example::start("chat").await?, Browsers::start().await?);
    let ada = join(&browsers, &server, "Ada", Look::Desktop).await?;
    server.kill().await?;
    ada.shows("[data-testid=state][data-phase=waiting]").await?;
    say(&ada, "Hold on to this").await?;

    // The tab goes elsewhere, so that its page is gone, and comes back to a new server.
    ada.goto("about:blank").await?;
    server.restart().await?;
    ada.goto(&server.url()).await?;
    ada.says(&["Hold on to this"]).await?;
    ada.counts("[data-state=sent]", 1).await?;
    browsers.close([ada]).await
}

#[tokio::test]
async fn the_chat_works_over_a_stream() -> Result<()> {
    let (mut server, browsers) = (Example::start("chat").await?, Browsers::start().await?);
    let ada = join(&browsers, &server, "Ada", Look::Desktop).await?;
    let ben = browsers.open(Look::Desktop).await?;
    ben.goto(&format!("{}?transport=sse", server.url())).await?;
    ben.shows("[data-testid=state][data-phase=live]").await?;
    say(&ben, "Over a stream").await?;
    ada.says(&["Over a stream"]).await?;
    ben.counts("[data-state=sent]", 1).await?;

    server.terminate().await?;
    say(&ben, "Said to nobody").await?;
    server.restart().await?;
    ada.says(&["Over a stream", "Said to nobody"]).await?;
    ben.says(&["Over a stream", "Said to nobody"]).await?;
    browsers.close([ada, ben]).await
}

#[tokio::test]
async fn a_feed_grows_and_a_job_moves_on() -> Result<()> {
    let (mut server, browsers) = (Example::start("feed").await?, Browsers::start().await?);
    let ada = browsers.open(Look::Desktop).await?;
    let ben = browsers.open(Look::DarkPhone).await?;
    for page in [&ada, &ben] {
        page.goto(&server.url()).await?;
        page.shows("[data-testid=state][data-phase=live]").await?;
        page.shows("[data-testid=post]").await?;
    }
    ben.click("start").await?;
    ada.shows("[data-testid=job]").await?;
    ada.picture("feed").await?;
    ada.sees("percent", "100 %").await?;
    ada.sees_part("post-title", "Search index rebuilt").await?;

    server.kill().await?;
    ada.leaves("[data-testid=state][data-phase=live]").await?;
    server.restart().await?;
    ada.shows("[data-testid=state][data-phase=live]").await?;
    ada.counts("[data-testid=gap]", 1).await?;
    browsers.close([ada, ben]).await
}

/// Not a test of anything: the picture that the README shows.
#[tokio::test]
async fn the_pictures_of_the_readme() -> Result<()> {
    let (server, browsers) = (Example::start("chat").await?, Browsers::start().await?);
    let ada = join(&browsers, &server, "Ada", Look::Desktop).await?;
    let ben = join(&browsers, &server, "Ben", Look::DarkPhone).await?;
    let cleo = join(&browsers, &server, "Cleo", Look::DarkDesktop).await?;
    let said = [
        (&ada, "Morning! The new release is out."),
        (&ada, "Tell me what the notes leave out."),
        (
            &ben,
            "Reading them on the train. The tunnel ate my connection twice and I still got every message.",
        ),
        (&cleo, "That's the log at work: your tab says where it was, the server sends the rest."),
        (&cleo, "Try to stop the server while you type."),
        (&ada, "Please don't, I'm presenting in five minutes."),
        (&ben, "Too late?"),
    ];
    for (told, (page, text)) in said.into_iter().enumerate() {
        say(page, text).await?;
        for reader in [&ada, &ben, &cleo] {
            reader.counts("[data-eventid]", told + 1).await?;
        }
    }
    cleo.type_into("text", "Nothing is").await?;
    ada.sees("typing", "Cleo is typing").await?;
    for (page, name) in [(&ada, "chat"), (&ben, "chat-phone"), (&cleo, "chat-dark")] {
        let picture = page.picture(name).await?;
        if name == "chat" && std::env::var_os("PICTURES").is_some() {
            std::fs::copy(picture, concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/chat/picture.png"))?;
        }
    }
    browsers.close([ada, ben, cleo]).await
}

/// Opens the chat under a name, and waits until it is live.
async fn join(browsers: &Browsers, server: &Example, name: &str, look: Look) -> Result<Page> {
    let page = browsers.open(look).await?;
    page.goto(&server.url()).await?;
    page.shows("[data-testid=state][data-phase=live]").await?;
    page.fill("name", name).await?;
    Ok(page)
}

async fn say(page: &Page, text: &str) -> Result<()> {
    page.type_into("text", &format!("{text}\u{e007}")).await
}
