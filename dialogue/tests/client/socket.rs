//! Over a WebSocket.

use std::{
    future::IntoFuture,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use dialogue::{
    Code,
    client::{ErrorKind, Incoming, Interruption, Resume, Status},
};
use serde_json::{Value, json};
use tokio::{join, sync::oneshot};

use crate::{
    AcmeClient, ChatClient, ChatEvent, Typing, connect,
    fake::{Fake, Peer, said, soon},
    message,
};

/// A client in `chat`, whose log is at 1.
async fn chat(fake: &Fake) -> (AcmeClient, ChatClient, Peer) {
    chat_with(fake, |connect| connect).await
}

async fn chat_with(
    fake: &Fake,
    how: impl FnOnce(dialogue::client::Connect<AcmeClient>) -> dialogue::client::Connect<AcmeClient>,
) -> (AcmeClient, ChatClient, Peer) {
    let (client, mut peer) = join!(how(connect(fake.url())).into_future(), fake.welcome());
    let client = client.unwrap();
    let (chat, _) = join!(client.chat().join(), peer.admit("fresh", 1));
    (client, chat.unwrap(), peer)
}

#[tokio::test]
async fn events_come_typed_and_sends_are_acknowledged() {
    let fake = Fake::start().await;
    let (_client, mut chat, mut peer) = chat(&fake).await;
    assert_eq!((chat.id(), chat.joined().resume), ("chat", Resume::Fresh));
    let serve = async {
        let trigger = peer.hear("trigger").await;
        assert_eq!(trigger["data"], json!({"text":"hi"}));
        peer.accept(&trigger, 2).await;
        peer.say(said(2, "hi")).await;
    };
    let (accepted, ()) = join!(chat.send(message("hi")), serve);
    assert_eq!(accepted.unwrap().seq, Some(2));
    let delivery = chat.next().await.unwrap().unwrap();
    assert_eq!((delivery.from.as_str(), delivery.seq), ("bob", Some(2)));
    assert!(matches!(delivery.event, ChatEvent::Message(said) if said == message("hi")));
    assert_eq!(chat.position().event_id, "id2");
}

#[tokio::test]
async fn a_reconnect_resumes_where_the_room_was() {
    let fake = Fake::start().await;
    let (_client, mut chat, mut peer) = chat(&fake).await;
    peer.say(said(2, "two")).await;
    chat.next().await.unwrap().unwrap();
    drop(peer);
    let mut peer = fake.welcome().await;
    assert_eq!(peer.token.as_deref(), Some("Bearer anon"));
    let join = peer.admit("complete", 3).await;
    assert_eq!(join["since"], json!({"epoch":"e","seq":2,"eventId":"id2"}));
    peer.say(said(3, "three")).await;
    assert!(matches!(chat.incoming().await, Ok(Some(Incoming::Rejoined(_)))));
    assert_eq!(chat.next().await.unwrap().unwrap().seq, Some(3));
}

#[tokio::test]
async fn a_lost_resume_is_an_error_and_the_room_goes_on() {
    let fake = Fake::start().await;
    let (_client, mut chat, peer) = chat(&fake).await;
    peer.close(4409).await;
    let mut peer = fake.welcome().await;
    peer.admit("lost", 90).await;
    peer.say(said(91, "later")).await;
    let Err(Interruption::Lost(lost)) = chat.next().await else { panic!("not lost") };
    assert_eq!((lost.since.seq, lost.head.seq), (1, 90));
    assert_eq!(chat.next().await.unwrap().unwrap().seq, Some(91));
}

#[tokio::test]
async fn a_kept_position_is_shown_and_its_loss_told() {
    let fake = Fake::start().await;
    let (client, mut peer) = join!(connect(fake.url()).into_future(), fake.welcome());
    let client = client.unwrap();
    let position = serde_json::from_value(json!({"epoch":"old","seq":9,"eventId":"x"})).unwrap();
    let (chat, join) =
        join!(client.chat().since(position).only::<crate::Message>().join(), peer.admit("lost", 2));
    assert_eq!((&join["since"]["seq"], &join["events"]), (&json!(9), &json!(["message"])));
    let mut chat = chat.unwrap();
    assert_eq!((chat.joined().resume, chat.position().seq), (Resume::Lost, 9));
    assert!(matches!(chat.next().await, Err(Interruption::Lost(_))));
    assert_eq!(chat.position().seq, 2);
}

#[tokio::test]
async fn a_send_whose_answer_was_lost_is_sent_again_with_its_key() {
    let fake = Fake::start().await;
    let (_client, chat, mut peer) = chat(&fake).await;
    let serve = async {
        let first = peer.hear("trigger").await;
        drop(peer);
        let mut peer = fake.welcome().await;
        peer.admit("complete", 2).await;
        let second = peer.hear("trigger").await;
        assert_eq!(first["key"], second["key"]);
        let ok = json!({"type":"ok","seq":2,"eventId":"id2","timestamp":1,"duplicate":true});
        peer.answer(&second, ok).await;
        peer
    };
    let (accepted, _peer) = join!(chat.send(message("hi")), serve);
    assert!(accepted.unwrap().duplicate);
}

#[tokio::test]
async fn while_offline_sends_wait_in_order_up_to_a_bound() {
    let fake = Fake::start().await;
    let (client, chat, peer) = chat_with(&fake, |connect| connect.offline_queue(2)).await;
    drop(peer);
    let mut statuses = client.statuses();
    while matches!(statuses.next().await, Some(Status::Online(_))) {}
    let crowd = async {
        let error = chat.send(message("three")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::QueueFull);
        assert_eq!(chat.try_send(Typing { active: true }).unwrap_err().kind(), ErrorKind::Offline);
        let mut peer = fake.welcome().await;
        peer.admit("complete", 1).await;
        for (seq, text) in [(2, "one"), (3, "two")] {
            let trigger = peer.hear("trigger").await;
            assert_eq!(trigger["data"]["text"], text);
            peer.accept(&trigger, seq).await;
        }
        peer
    };
    let (one, two, _peer) = join!(chat.send(message("one")), chat.send(message("two")), crowd);
    assert_eq!((one.unwrap().seq, two.unwrap().seq), (Some(2), Some(3)));
}

#[tokio::test]
async fn while_connected_a_full_queue_makes_a_send_wait() {
    let fake = Fake::start().await;
    let (_client, chat, mut peer) = chat_with(&fake, |connect| connect.offline_queue(1)).await;
    let serve = async {
        for seq in 2..4 {
            let trigger = peer.hear("trigger").await;
            peer.accept(&trigger, seq).await;
        }
    };
    let (one, two, ()) = join!(chat.send(message("one")), chat.send(message("two")), serve);
    assert_eq!((one.unwrap().seq, two.unwrap().seq), (Some(2), Some(3)));
}

#[tokio::test]
async fn an_ephemeral_event_is_sent_without_waiting() {
    let fake = Fake::start().await;
    let (_client, chat, mut peer) = chat(&fake).await;
    chat.try_send(Typing { active: true }).unwrap();
    let trigger = peer.hear("trigger").await;
    assert_eq!(
        (&trigger["event"], &trigger["id"], &trigger["key"]),
        (&json!("typing"), &json!(null), &json!(null))
    );
}

#[tokio::test]
async fn refusals_are_values() {
    let fake = Fake::start().await;
    let (client, chat, mut peer) = chat(&fake).await;
    let serve = async {
        let trigger = peer.hear("trigger").await;
        let details = json!([{"path":"/text","message":"length"}]);
        let error =
            json!({"type":"error","code":"VALIDATION_FAILED","message":"/text: length","details":details});
        peer.answer(&trigger, error).await;
        let join = peer.hear("join").await;
        assert_eq!(join["roomId"], "project:7");
        peer.answer(&join, json!({"type":"error","code":"JOIN_DENIED","message":"no"})).await;
    };
    let ask = async { (chat.send(message("")).await, client.project(7).join().await) };
    let ((sent, joined), ()) = join!(ask, serve);
    assert_eq!(sent.unwrap_err().refusal().unwrap().details[0].path, "/text");
    assert_eq!(joined.unwrap_err().code(), Some(Code::JoinDenied));
    assert_eq!(client.chat().join().await.unwrap_err().kind(), ErrorKind::AlreadyJoined);
}

/// An event with what serde_json can't read in `field`.
fn broken(seq: u64, field: &str) -> String {
    let (data, meta) = match field {
        "data" => (r#"{"text":"\ud83d"}"#, "{}"),
        "meta" => (r#"{"text":"hi"}"#, r#"{"n":1e999}"#),
        "type" => (r#"{"text":5}"#, "{}"),
        _ => (r#"{"text":"hi"}"#, "{}"),
    };
    let timestamp = if field == "envelope" { r#""then""# } else { "1" };
    format!(
        r#"{{"type":"event","roomId":"chat","event":"message","from":"eve","timestamp":{timestamp},"eventId":"id{seq}","seq":{seq},"data":{data},"meta":{meta}}}"#
    )
}

#[tokio::test]
async fn an_event_that_can_not_be_read_is_an_item_of_its_own() {
    let fake = Fake::start().await;
    let (_client, mut chat, mut peer) = chat(&fake).await;
    for (seq, field) in (2..).zip(["data", "meta", "type", "envelope"]) {
        peer.say_text(broken(seq, field)).await;
        let unreadable = chat.next().await;
        assert!(
            matches!(&unreadable, Err(Interruption::Unreadable { seq: Some(at), event, .. }) if *at == seq && event == "message"),
            "{field}: {unreadable:?}"
        );
        assert_eq!((chat.position().seq, chat.position().event_id), (seq, format!("id{seq}")));
    }
    peer.say(said(6, "six")).await;
    assert_eq!(chat.next().await.unwrap().unwrap().seq, Some(6));
}

#[tokio::test]
async fn an_event_of_a_page_that_can_not_be_read_is_an_item_of_its_own() {
    let fake = Fake::start().await;
    let (_client, mut chat, mut peer) = chat(&fake).await;
    let page = |first: String, last: String| format!("[{first},{},{last}]", said(3, "three"));
    peer.say_text(format!(
        r#"{{"type":"history","roomId":"chat","more":true,"events":{}}}"#,
        page(broken(2, "meta"), broken(4, "data"))
    ))
    .await;
    assert!(matches!(chat.incoming().await, Err(Interruption::Unreadable { seq: Some(2), .. })));
    assert!(
        matches!(chat.incoming().await, Ok(Some(Incoming::History(delivery))) if delivery.seq == Some(3))
    );
    assert!(matches!(chat.incoming().await, Err(Interruption::Unreadable { seq: Some(4), .. })));
    let serve = async {
        let asked = peer.hear("getHistory").await;
        let events = page(broken(4, "type"), broken(2, "envelope"));
        let id = &asked["id"];
        let page = format!(r#"{{"type":"history","id":{id},"roomId":"chat","events":{events},"more":true}}"#);
        peer.say_text(page).await;
    };
    let (page, ()) = join!(chat.history().into_future(), serve);
    let page = page.unwrap();
    assert_eq!((page.events.len(), page.older()), (1, Some(2)));
    let unreadable: Vec<_> = page.unreadable.iter().map(|event| (event.seq, &*event.event)).collect();
    assert_eq!(unreadable, [(Some(4), "message"), (Some(2), "message")]);
    assert_eq!(page.unreadable.first().map(|event| &*event.from), Some("eve"));
}

#[tokio::test]
async fn history_and_members_are_typed() {
    let fake = Fake::start().await;
    let (_client, chat, mut peer) = chat(&fake).await;
    let serve = async {
        let ask = peer.hear("getHistory").await;
        assert_eq!((&ask["before"], &ask["limit"], &ask["event"]), (&json!(5), &json!(2), &json!("message")));
        let events = [said(4, "four"), said(3, "three")];
        peer.answer(&ask, json!({"type":"history","roomId":"chat","events":events,"more":true})).await;
        let ask = peer.hear("members").await;
        let members = json!([{"userId":"bob","connections":2}]);
        peer.answer(&ask, json!({"type":"members","roomId":"chat","members":members,"size":9,"more":true}))
            .await;
    };
    let ask = async {
        let page = chat.history().only::<crate::Message>().before(5).limit(2).await.unwrap();
        (page, chat.members(1, None).await.unwrap())
    };
    let ((page, members), ()) = join!(ask, serve);
    assert_eq!((page.events[0].seq, page.older()), (Some(4), Some(3)));
    assert_eq!((members.members[0].user_id.as_str(), members.size), ("bob", 9));
}

#[tokio::test]
async fn a_page_in_which_nothing_was_found_is_followed_by_the_next() {
    let fake = Fake::start().await;
    let (_client, chat, mut peer) = chat(&fake).await;
    let serve = async {
        let page = |events: &[Value], next: u64| json!({"type":"history","roomId":"chat","events":events,"more":true,"next":next});
        let ask = peer.hear("getHistory").await;
        assert!(ask["before"].is_null());
        peer.answer(&ask, page(&[], 9_001)).await;
        let ask = peer.hear("getHistory").await;
        assert_eq!((&ask["before"], &ask["event"]), (&json!(9_001), &json!("message")));
        peer.answer(&ask, page(&[said(8_000, "rare")], 7_001)).await;
        let ask = peer.hear("getHistory").await;
        peer.answer(&ask, page(&[], 9)).await;
        let ask = peer.hear("getHistory").await;
        assert_eq!(ask["before"], 9);
        peer.answer(&ask, json!({"type":"history","roomId":"chat","events":[],"more":false})).await;
    };
    let ask = async {
        let page = chat.history().only::<crate::Message>().await.unwrap();
        assert_eq!((page.events[0].seq, page.older()), (Some(8_000), Some(7_001)));
        let last = chat.history().only::<crate::Message>().before(7_001).await.unwrap();
        assert!(last.events.is_empty() && last.older().is_none() && !last.more);
    };
    join!(ask, serve);
}

#[tokio::test]
async fn a_slow_reader_loses_nothing_and_holds_nobody_up() {
    let fake = Fake::start().await;
    let (client, mut chat, mut peer) = chat_with(&fake, |connect| connect.buffer(2)).await;
    for seq in 2..6 {
        peer.say(said(seq, "much")).await;
    }
    let (project, _) = join!(client.project(1).join(), peer.admit("fresh", 1));
    project.unwrap();
    assert_eq!(chat.next().await.unwrap().unwrap().seq, Some(2));
    assert_eq!(chat.next().await.unwrap().unwrap().seq, Some(3));
    let _left = peer.hear("leave").await;
    let join = peer.admit("complete", 5).await;
    assert_eq!(join["since"]["seq"], 3);
    peer.say(said(4, "much")).await;
    assert_eq!(chat.next().await.unwrap().unwrap().seq, Some(4));
}

#[tokio::test]
async fn unread_bytes_make_no_room_ask_again() {
    let fake = Fake::start().await;
    let (_client, mut chat, mut peer) = chat(&fake).await;
    let (behind, is_behind) = oneshot::channel();
    let serve = async {
        let mut behind = Some(behind);
        for seq in 2..=101 {
            peer.say(said(seq, &"x".repeat(60_000))).await;
            if seq == 72 {
                behind.take().unwrap().send(()).unwrap();
            }
        }
    };
    let read = async {
        is_behind.await.unwrap();
        for seq in 2..=101 {
            assert_eq!(chat.next().await.unwrap().unwrap().seq, Some(seq));
        }
    };
    let all = async { join!(serve, read) };
    soon(Duration::from_secs(60), "all events", all).await;
    drop(chat);
    peer.hear("leave").await;
}

#[tokio::test]
async fn what_is_not_declared_is_counted_and_what_is_broken_told() {
    let fake = Fake::start().await;
    let (_client, mut chat, mut peer) = chat(&fake).await;
    let mut newer = said(2, "x");
    newer["event"] = json!("reaction");
    peer.say(newer).await;
    let mut broken = said(3, "x");
    broken["data"] = json!({"text": 7});
    peer.say(broken).await;
    peer.say(said(4, "fine")).await;
    assert!(matches!(chat.next().await, Err(Interruption::Unreadable { seq: Some(3), .. })));
    assert_eq!((chat.unknown(), chat.next().await.unwrap().unwrap().seq), (1, Some(4)));
}

#[tokio::test]
async fn notices_are_typed() {
    let fake = Fake::start().await;
    let (_client, mut chat, mut peer) = chat(&fake).await;
    peer.say(json!({"type":"presence","roomId":"chat","userId":"bob","change":"joined","size":2})).await;
    let Ok(Some(Incoming::Presence(bob))) = chat.incoming().await else { panic!("no presence") };
    assert_eq!((bob.user_id.as_str(), bob.size), ("bob", 2));
    peer.say(json!({"type":"skipped","roomId":"chat","count":3})).await;
    assert!(matches!(chat.incoming().await, Ok(Some(Incoming::Skipped(3)))));
    peer.say(json!({"type":"left","roomId":"chat","reason":"deleted"})).await;
    assert!(
        matches!(chat.next().await, Err(Interruption::Left { reason: Some(reason) }) if reason == "deleted")
    );
    assert!(chat.next().await.unwrap().is_none());
    assert_eq!(chat.send(message("x")).await.unwrap_err().kind(), ErrorKind::NotJoined);
}

#[tokio::test]
async fn nobody_there_is_an_error_at_once() {
    let fake = Fake::start().await;
    let url = fake.url();
    drop(fake);
    assert_eq!(connect(url).await.err().unwrap().kind(), ErrorKind::Connect);
}

#[tokio::test]
async fn a_rejected_token_says_what_the_server_said() {
    let fake = Fake::start().await;
    let serve = async {
        let asked = fake.request().await;
        assert!(asked.head.to_ascii_lowercase().contains("authorization: bearer secret"));
        let body = r#"{"type":"error","code":"UNAUTHENTICATED","message":"expired"}"#;
        asked.answer("401 Unauthorized", body).await;
    };
    let (client, ()) = join!(connect(fake.url()).token("secret").into_future(), serve);
    let error = client.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert_eq!(error.refusal().unwrap().message, "expired");
}

#[tokio::test]
async fn a_refusal_in_several_packets_is_read() {
    let fake = Fake::start().await;
    let serve = async {
        let body = r#"{"type":"error","code":"PERMISSION_DENIED","message":"not here","reason":"no-plan"}"#;
        fake.request().await.answer_slowly("403 Forbidden", body).await;
    };
    let (client, ()) = join!(connect(fake.url()).into_future(), serve);
    let error = client.err().unwrap();
    assert_eq!((error.code(), error.reason()), (Some(Code::PermissionDenied), Some("no-plan")));
}

#[tokio::test]
async fn a_token_that_is_wanted_is_told_at_once() {
    let fake = Fake::start().await;
    let serve = async {
        let mut peer = fake.accept().await;
        assert_eq!(peer.token, None);
        let probe = peer.probed().await;
        let error = json!({"type":"error","code":"UNAUTHENTICATED","message":"show a token first: `auth`"});
        peer.answer(&probe, error).await;
        peer.gone().await;
    };
    let (client, ()) = join!(connect(fake.url()).into_future(), serve);
    let error = client.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.to_string().starts_with("the server requires a token"), "{error}");
}

#[tokio::test]
async fn a_proxy_that_answers_in_between_is_passed() {
    let fake = Fake::start().await;
    let (client, mut chat, peer) = chat(&fake).await;
    drop(peer);
    for status in ["403 Forbidden", "404 Not Found", "401 Unauthorized", "200 OK"] {
        fake.request().await.answer(status, "<html>no such upstream</html>").await;
    }
    fake.request().await.answer("403 Forbidden", r#"{"code":"RBAC_DENIED","message":"gateway"}"#).await;
    let mut peer = fake.welcome().await;
    peer.admit("complete", 1).await;
    assert!(matches!(chat.incoming().await, Ok(Some(Incoming::Rejoined(_)))));
    assert!(client.status().is_connected());
}

#[tokio::test]
async fn a_refusal_of_dialogues_in_between_is_final() {
    let fake = Fake::start().await;
    let (client, mut chat, peer) = chat(&fake).await;
    drop(peer);
    let body =
        r#"{"type":"error","code":"PERMISSION_DENIED","message":"pages of this origin may not connect"}"#;
    fake.request().await.answer("403 Forbidden", body).await;
    assert!(
        matches!(chat.next().await, Err(Interruption::Ended(error)) if error.code() == Some(Code::PermissionDenied))
    );
    assert!(matches!(client.status(), Status::Stopped(_)));
}

#[tokio::test]
async fn a_wrong_path_says_what_was_met() {
    let fake = Fake::start().await;
    let serve = async { fake.request().await.answer("404 Not Found", "nothing here").await };
    let (client, ()) = join!(connect(fake.url()).into_future(), serve);
    let error = client.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Connect);
    assert!(error.to_string().contains("`404 Not Found`, and Dialogue did not write it"), "{error}");
}

#[tokio::test]
async fn what_switches_to_something_else_is_no_server() {
    let (connection, upgrade, protocol) = (
        "connection: keep-alive, Upgrade\r\n",
        "upgrade: websocket\r\n",
        "sec-websocket-protocol: dialogue.v1\r\n",
    );
    for (headers, accept, text) in [
        ([connection, upgrade, protocol], Some("wrong"), "a protocol other than WebSocket"),
        (["", upgrade, protocol], None, "a protocol other than WebSocket"),
        (["connection: close\r\n", upgrade, protocol], None, "a protocol other than WebSocket"),
        ([connection, "upgrade: h2c\r\n", protocol], None, "a protocol other than WebSocket"),
        ([connection, upgrade, ""], None, "does not support the subprotocol `dialogue.v1`"),
    ] {
        let fake = Fake::start().await;
        let serve = async {
            let asked = fake.request().await;
            let accept = accept.map_or_else(|| asked.accept_key(), ToOwned::to_owned);
            asked
                .switch(format!("{}sec-websocket-accept: {accept}\r\n", headers.concat()).as_bytes(), &[])
                .await;
        };
        let (client, ()) = join!(connect(fake.url()).into_future(), serve);
        let error = client.err().unwrap().to_string();
        assert!(error.contains(text), "{headers:?} {accept:?}: {error}");
    }
}

#[tokio::test]
async fn a_welcome_in_the_packet_of_the_handshake_is_read() {
    let fake = Fake::start().await;
    let serve = async {
        let asked = fake.request().await;
        let headers = format!(
            "connection: upgrade\r\nupgrade: WebSocket\r\nsec-websocket-protocol: dialogue.v1\r\n\
             sec-websocket-accept: {}\r\n",
            asked.accept_key()
        );
        let welcome = json!({"type":"connected","clientId":"c","userId":"u","protocol":1}).to_string();
        // One text frame of less than 126 bytes (RFC 6455, section 5.2).
        let frame = [&[0x81, u8::try_from(welcome.len()).unwrap()], welcome.as_bytes()].concat();
        asked.switch(headers.as_bytes(), &frame).await;
    };
    let client = async {
        let client = connect(fake.url()).await.unwrap();
        assert!(matches!(client.status(), Status::Online(identity) if identity.user_id == "u"));
    };
    join!(client, serve);
}

#[tokio::test]
async fn a_token_that_ran_out_is_asked_for_again() {
    let fake = Fake::start().await;
    let count = Arc::new(AtomicU32::new(0));
    let ask = move || {
        let token = format!("t{}", count.fetch_add(1, Ordering::Relaxed));
        async { Ok::<_, std::io::Error>(token) }
    };
    let (client, peer) = join!(connect(fake.url()).token_from(ask).into_future(), fake.welcome());
    let _client = client.unwrap();
    assert_eq!(peer.token.as_deref(), Some("Bearer t0"));
    peer.close(4401).await;
    assert_eq!(fake.welcome().await.token.as_deref(), Some("Bearer t1"));
}

#[tokio::test]
async fn a_removed_client_does_not_come_back() {
    let fake = Fake::start().await;
    let (client, mut chat, peer) = chat(&fake).await;
    peer.close(4403).await;
    assert!(
        matches!(chat.next().await, Err(Interruption::Ended(error)) if error.kind() == ErrorKind::Removed)
    );
    assert_eq!(chat.send(message("x")).await.unwrap_err().kind(), ErrorKind::Removed);
    assert!(matches!(client.status(), Status::Stopped(_)));
}

#[tokio::test]
async fn a_draining_server_is_left_for_another() {
    let fake = Fake::start().await;
    let (_client, mut chat, mut peer) = chat(&fake).await;
    peer.say(json!({"type":"reconnect","afterMs":5})).await;
    peer.gone().await;
    let mut peer = fake.welcome().await;
    peer.admit("complete", 1).await;
    assert!(matches!(chat.incoming().await, Ok(Some(Incoming::Rejoined(_)))));
}

#[tokio::test]
async fn leaving_and_dropping_let_go() {
    let fake = Fake::start().await;
    let (client, chat, mut peer) = chat(&fake).await;
    let serve = async {
        let leave = peer.hear("leave").await;
        peer.answer(&leave, json!({"type":"left","roomId":"chat"})).await;
    };
    let (left, ()) = join!(chat.leave(), serve);
    left.unwrap();
    drop(client);
    peer.gone().await;
}

#[tokio::test]
async fn closing_ends_what_waits() {
    let fake = Fake::start().await;
    let (client, mut chat, mut peer) = chat(&fake).await;
    let sender = chat.sender();
    let close = async {
        peer.hear("trigger").await;
        client.close().await;
    };
    let (sent, ()) = join!(sender.send(message("x")), close);
    assert_eq!(sent.unwrap_err().kind(), ErrorKind::Closed);
    assert!(chat.next().await.unwrap().is_none());
}

#[test]
fn a_room_may_be_read_in_a_task_of_its_own() {
    fn is_send<T: Send>(_: impl FnOnce(ChatClient) -> T) {}
    is_send(|mut chat| async move { chat.next().await.is_ok() });
}
