//! A log that is exported, and what the file tells.
#![cfg(feature = "server")]

use dialogue::{
    audit::{Anchor, Tampered, Verify, verify},
    store::{Append, Memory, Order, Query, Store},
};

/// Something that was entered.
#[dialogue::event(from = server)]
#[derive(Debug)]
pub struct Entry {
    /// What.
    pub text: String,
}

/// What something is worth now.
#[dialogue::event(latest = name, from = server)]
#[derive(Debug)]
pub struct Price {
    /// Of what.
    pub name: String,
    /// In cents.
    pub cents: u64,
}

/// What another program sent.
#[dialogue::event]
#[derive(Debug)]
pub struct Receipt {
    /// As it was written there.
    pub body: Box<serde_json::value::RawValue>,
}

dialogue::rooms! {
    /// Rooms with and without digests.
    pub struct Bank;

    #[room(audit)]
    receipts: [Receipt] via [websocket];

    #[room(audit)]
    ledger: [Entry, Price] via [websocket];

    #[room(audit, retain(events = 5))]
    short: [Entry] via [websocket];

    plain: [Entry] via [websocket];
}

mod later {
    use super::Entry;

    dialogue::rooms! {
        /// A later version, which no longer has prices.
        pub(super) struct Bank;

        #[room(audit)]
        ledger: [Entry] via [websocket];

        #[room(audit)]
        plain: [Entry] via [websocket];
    }
}

type Tested = Result<(), Box<dyn std::error::Error>>;

async fn enter(server: &BankServer, entries: impl IntoIterator<Item = u64>) -> Tested {
    for entry in entries {
        server.ledger().trigger(Entry { text: format!("entry {entry} — “ü”") }).await?;
        server.ledger().trigger(Price { name: "ACME".into(), cents: entry }).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_export_holds_every_event_as_it_was_said() -> Tested {
    for server in [Bank::server(), Bank::server().store(Memory::new())] {
        let server = server.build().await?;
        enter(&server, 1..=400).await?;
        let mut file = Vec::new();
        let written = server.ledger().export(&mut file).await?;
        assert_eq!((written.after, written.through.seq), (Anchor::BEGINNING, 800));
        assert_eq!((verify(&*file)?, &*written.room_id), (written.clone(), "ledger"));
        let text = String::from_utf8(file)?;
        assert!(text.lines().nth(1).is_some_and(|line| line.contains("entry 1 — “ü”")));
        assert_eq!(text.lines().count(), 801, "conflated events are there too");
    }
    Ok(())
}

#[tokio::test]
async fn raw_json_of_many_lines_is_one_line_of_an_export() -> Tested {
    let server = Bank::server().build().await?;
    for body in ["{\n\"a\":\r\n1 }", "[\n]"] {
        let body = serde_json::value::RawValue::from_string(body.to_owned())?;
        server.receipts().trigger(Receipt { body }).await?;
    }
    let mut file = Vec::new();
    let written = server.receipts().export(&mut file).await?;
    assert_eq!(verify(&*file)?, written);
    assert_eq!(String::from_utf8(file)?.lines().count(), 3);
    Ok(())
}

#[tokio::test]
async fn an_export_goes_on_where_the_last_one_ended() -> Tested {
    let store = Memory::new();
    let server = Bank::server().store(store.clone()).build().await?;
    let empty = server.ledger().export(&mut Vec::new()).await?;
    assert_eq!(empty.through, Anchor::BEGINNING);
    enter(&server, 1..=3).await?;
    let first = server.ledger().export_after(empty.through, &mut Vec::new()).await?;
    drop(server);

    // The chain goes on over a restart.
    let server = Bank::server().store(store).build().await?;
    enter(&server, 4..=5).await?;
    let mut file = Vec::new();
    let second = server.ledger().export_after(first.through, &mut file).await?;
    assert_eq!((second.after, second.through.seq), (first.through, 10));
    assert_eq!(Verify::new().anchor(first.through).read(&*file)?, second);
    let nothing = server.ledger().export_after(second.through, &mut Vec::new()).await?;
    assert_eq!((nothing.after, nothing.through), (second.through, second.through));
    for wrong in [Anchor { digest: [1; 32], ..first.through }, Anchor { seq: 11, digest: [1; 32] }] {
        let refused = server.ledger().export_after(wrong, &mut Vec::new()).await.unwrap_err();
        assert!(refused.to_string().contains("another event"), "{refused}");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_altered_in_the_store_is_found() -> Tested {
    let store = Memory::new();
    let server = Bank::server().store(store.clone()).build().await?;
    enter(&server, 1..=10).await?;
    let anchor = server.ledger().export(&mut Vec::new()).await?.through;
    drop(server);

    let head = store.head("ledger").await?.ok_or("a log")?;
    let mut events = store.read("ledger", Query::new(Order::OldestFirst, 100)).await?.events;
    events[6].data = r#"{"text":"entry 4000"}"#.into();
    store.remove("ledger").await?;
    store.append(vec![Append::new("ledger".into(), head.epoch, events)]).await?;

    let mut file = Vec::new();
    let server = Bank::server().store(store).build().await?;
    assert_eq!(server.ledger().export(&mut file).await?.through, anchor);
    assert!(matches!(verify(&*file), Err(Tampered::Altered { seq: 7 })));
    Ok(())
}

#[tokio::test]
async fn of_a_trimmed_log_the_oldest_event_is_what_the_rest_follows() -> Tested {
    let server = Bank::server().build().await?;
    for entry in 1..=20 {
        server.short().trigger(Entry { text: entry.to_string() }).await?;
    }
    let mut file = Vec::new();
    let written = server.short().export(&mut file).await?;
    assert_eq!((written.after.seq, written.through.seq), (16, 20));
    assert_eq!(verify(&*file)?, written);
    let gone = server.short().export_after(Anchor::BEGINNING, &mut Vec::new()).await.unwrap_err();
    assert!(gone.to_string().contains("no longer holds event 1"), "{gone}");
    Ok(())
}

#[tokio::test]
async fn events_that_are_no_longer_declared_are_exported_all_the_same() -> Tested {
    let store = Memory::new();
    let server = Bank::server().store(store.clone()).build().await?;
    enter(&server, 1..=3).await?;
    let written = server.ledger().export(&mut Vec::new()).await?;
    drop(server);
    let mut file = Vec::new();
    let server = later::Bank::server().store(store).build().await?;
    assert_eq!(server.ledger().export(&mut file).await?, written);
    assert_eq!(verify(&*file)?, written);
    Ok(())
}

#[tokio::test]
async fn a_log_that_is_audited_from_some_day_on_is_exported_from_there() -> Tested {
    let store = Memory::new();
    let server = Bank::server().store(store.clone()).build().await?;
    server.plain().trigger(Entry { text: "before".into() }).await?;
    let refused = server.plain().export(&mut Vec::new()).await.unwrap_err();
    assert!(refused.to_string().contains("declare the room with `audit`"), "{refused}");
    drop(server);
    let server = later::Bank::server().store(store).build().await?;
    server.plain().trigger(Entry { text: "after".into() }).await?;
    let mut file = Vec::new();
    let written = server.plain().export(&mut file).await?;
    assert_eq!((written.after, written.through.seq), (Anchor { seq: 1, digest: [0; 32] }, 2));
    assert_eq!(verify(&*file)?, written);
    Ok(())
}

#[tokio::test]
async fn a_writer_that_fails_makes_no_export() -> Tested {
    let server = Bank::server().build().await?;
    enter(&server, 1..=3).await?;
    let (writer, reader) = tokio::io::duplex(64);
    drop(reader);
    let failed = server.ledger().export(writer).await.unwrap_err();
    assert!(failed.to_string().starts_with("the export can't be written"), "{failed}");
    Ok(())
}
