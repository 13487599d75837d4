//! Events as a server stores them: 128 bytes of payload, with a key.

use dialogue::store::{Append, Memory, Order, Query, Store, StoredEvent};

use crate::Result;

/// Said by a member.
#[dialogue::event]
#[derive(Debug)]
pub(crate) struct Message {
    /// What is said.
    pub text: String,
}

dialogue::rooms! {
    pub(crate) struct Acme;
    #[room(retain(events = 100))]
    project(u64): [Message] via [websocket];
}

impl Message {
    /// 128 bytes, as JSON.
    pub(crate) fn new(number: u64) -> Self {
        // By hand: a format with a width writes one space at a time, for longer than a room takes for the event.
        let mut text = number.to_string();
        text.push_str(&" ".repeat(117_usize.saturating_sub(text.len())));
        Message { text }
    }
}

/// What a server stores of one event.
pub(crate) async fn template() -> Result<StoredEvent> {
    let store = Memory::new();
    let server = Acme::server().store(store.clone()).build().await?;
    server.project(1).trigger(Message::new(1)).await?;
    let page = store.read("project:1", Query::new(Order::OldestFirst, 1)).await?;
    let mut event = page.events.into_iter().next().ok_or("nothing was stored")?;
    // As a client's has.
    event.key = Some("0123456789abcdef".into());
    Ok(event)
}

pub(crate) fn numbered(template: &StoredEvent, seq: u64) -> StoredEvent {
    let mut event = template.clone();
    (event.seq, event.offset) = (seq, seq * 250);
    event.timestamp += seq;
    event
}

/// Those events of a room, each of which says something else.
pub(crate) fn append(template: &StoredEvent, room: u64, seqs: impl IntoIterator<Item = u64>) -> Append {
    let events = seqs.into_iter().map(|seq| {
        let mut event = numbered(template, seq);
        event.data = said().into();
        event
    });
    Append::new(format!("project:{room}").into(), "epoch".into(), events.collect())
}

/// 128 bytes of a payload, in words.
pub(crate) fn said() -> String {
    const WORDS: &str = "about after again are because before but can come could day even first from get give good have \
        here house how into just know like look make many more most new night now only other our over people room say \
        see should some take than that their them then there these they thing think this time tomorrow two use very \
        want was way well went were what when which who will with work would year yesterday you";
    let words: Vec<_> = WORDS.split(' ').collect();
    let mut said = String::from(r#"{"text":""#);
    while said.len() < 126 {
        said.push_str(fastrand::choice(&words).copied().unwrap_or_default());
        said.push(' ');
    }
    said.truncate(126);
    said + r#""}"#
}
