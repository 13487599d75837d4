//! Over Server-Sent Events.

use std::time::Duration;

use dialogue::{
    Code,
    client::{ErrorKind, Incoming, Interruption, Status},
};
use serde_json::json;
use tokio::{join, sync::oneshot};

use crate::{
    AcmeClient, FeedClient, connect,
    fake::{Asked, Fake, soon},
};

/// A client in `feed`, whose log is at 1, and no socket.
async fn feed(fake: &Fake) -> (AcmeClient, FeedClient, Asked) {
    let client = connect(fake.url()).token("secret").lazy().await.unwrap();
    let (feed, stream) = join!(client.feed().join(), async { fake.request().await.stream("fresh", 1).await });
    (client, feed.unwrap(), stream)
}

#[tokio::test]
async fn events_come_typed_without_a_socket() {
    let fake = Fake::start().await;
    let (client, mut feed, mut stream) = feed(&fake).await;
    assert!(stream.head.starts_with("GET /api/events?room=feed HTTP/1.1\r\n"), "{}", stream.head);
    assert_eq!(stream.header("authorization"), Some("Bearer secret"));
    stream.post(2).await;
    let delivery = feed.next().await.unwrap().unwrap();
    assert!(delivery.server);
    assert_eq!(delivery.seq, Some(2));
    assert!(matches!(client.status(), Status::Streaming));
}

#[tokio::test]
async fn a_stream_resumes_by_its_last_event_id() {
    let fake = Fake::start().await;
    let (_client, mut feed, mut stream) = feed(&fake).await;
    stream.post(2).await;
    feed.next().await.unwrap().unwrap();
    drop(stream);
    let asked = fake.request().await;
    assert_eq!(asked.header("last-event-id"), Some("feed=e%2E1.2.id2"));
    let mut stream = asked.stream("complete", 3).await;
    stream.post(2).await;
    stream.post(3).await;
    assert!(matches!(feed.incoming().await, Ok(Some(Incoming::Rejoined(_)))));
    assert_eq!(feed.next().await.unwrap().unwrap().seq, Some(3));
}

#[tokio::test]
async fn a_lost_resume_is_an_error_and_the_stream_goes_on() {
    let fake = Fake::start().await;
    let (_client, mut feed, stream) = feed(&fake).await;
    drop(stream);
    fake.request()
        .await
        .answer("503 Service Unavailable", r#"{"type":"error","code":"UNAVAILABLE","message":"draining"}"#)
        .await;
    let mut stream = fake.request().await.stream("lost", 7).await;
    stream.post(8).await;
    assert!(matches!(feed.next().await, Err(Interruption::Lost(lost)) if lost.head.seq == 7));
    assert_eq!(feed.next().await.unwrap().unwrap().seq, Some(8));
}

#[tokio::test]
async fn a_log_that_is_lost_in_the_middle_of_a_stream_is_an_error_and_the_stream_goes_on() {
    let fake = Fake::start().await;
    let (_client, mut feed, mut stream) = feed(&fake).await;
    stream.post(2).await;
    stream.joined("e.2", "lost", 0).await;
    assert_eq!(feed.next().await.unwrap().unwrap().seq, Some(2));
    let Err(Interruption::Lost(lost)) = feed.next().await else { panic!("it isn't said") };
    assert_eq!((lost.since.seq, lost.head.epoch.as_str()), (2, "e.2"));
    stream.post(1).await;
    assert_eq!(feed.next().await.unwrap().unwrap().seq, Some(1));
}

#[tokio::test]
async fn a_slow_readers_stream_waits_with_it() {
    let fake = Fake::start().await;
    let client = connect(fake.url()).lazy().buffer(2).await.unwrap();
    let (feed, mut stream) =
        join!(client.feed().join(), async { fake.request().await.stream("fresh", 1).await });
    let mut feed = feed.unwrap();
    for seq in 2..6 {
        stream.post(seq).await;
    }
    for seq in 2..6 {
        let next = soon(Duration::from_secs(20), "an event", feed.next()).await;
        assert_eq!(next.unwrap().unwrap().seq, Some(seq));
    }
    stream.post(6).await;
    assert_eq!(feed.next().await.unwrap().unwrap().seq, Some(6));
}

#[tokio::test]
async fn unread_bytes_open_no_other_stream() {
    let fake = Fake::start().await;
    let (_client, mut feed, mut stream) = feed(&fake).await;
    let (behind, is_behind) = oneshot::channel();
    let serve = async {
        let mut behind = Some(behind);
        for seq in 2..=101 {
            stream.post_titled(seq, &"x".repeat(60_000)).await;
            if seq == 72 {
                behind.take().unwrap().send(()).unwrap();
            }
        }
    };
    let read = async {
        is_behind.await.unwrap();
        for seq in 2..=101 {
            assert_eq!(feed.next().await.unwrap().unwrap().seq, Some(seq));
        }
    };
    let all = async { join!(serve, read) };
    soon(Duration::from_secs(60), "all events", all).await;
    stream.post(102).await;
    assert_eq!(feed.next().await.unwrap().unwrap().seq, Some(102));
}

#[tokio::test]
async fn an_event_of_a_stream_that_can_not_be_read_is_an_item_of_its_own() {
    let fake = Fake::start().await;
    let (_client, mut feed, mut stream) = feed(&fake).await;
    let frame = r#"{"type":"event","roomId":"feed","event":"new-post","data":{"title":"a"},"from":"system","timestamp":1,"eventId":"id2","seq":2,"meta":{"n":1e999}}"#;
    stream.write(&format!("event: new-post\ndata: {frame}\n\n")).await;
    stream.post(3).await;
    assert!(matches!(feed.next().await, Err(Interruption::Unreadable { seq: Some(2), .. })));
    assert_eq!(feed.next().await.unwrap().unwrap().seq, Some(3));
}

#[tokio::test]
async fn a_stream_outlives_the_deadline_of_its_join() {
    const DEADLINE: Duration = Duration::from_secs(2);
    let fake = Fake::start().await;
    let client = connect(fake.url()).lazy().deadline(DEADLINE).await.unwrap();
    let began = tokio::time::Instant::now();
    let (feed, mut stream) =
        join!(client.feed().join(), async { fake.request().await.stream("fresh", 1).await });
    if feed.is_err() {
        deadline::took("the join", began.elapsed(), DEADLINE).unwrap_or_else(|late| panic!("{late}"));
    }
    let mut feed = feed.unwrap();
    let end = soon(4 * DEADLINE, "the stream's end", feed.next());
    let posts = async {
        tokio::time::sleep(DEADLINE + DEADLINE / 10).await;
        stream.post(2).await;
    };
    let (next, ()) = join!(end, posts);
    assert_eq!(next.unwrap().unwrap().seq, Some(2));
}

#[tokio::test]
async fn a_refused_stream_is_a_value() {
    let fake = Fake::start().await;
    let client = connect(fake.url()).lazy().await.unwrap();
    let refuse = async {
        let body = r#"{"type":"error","code":"JOIN_DENIED","message":"members only"}"#;
        fake.request().await.answer("403 Forbidden", body).await;
    };
    let (feed, ()) = join!(client.feed().join(), refuse);
    assert_eq!(feed.unwrap_err().code(), Some(Code::JoinDenied));
}

#[tokio::test]
async fn a_failure_in_a_stream_is_what_its_status_would_be() {
    // A first join into a full room fails at once; a client that comes back waits for a place.
    let fake = Fake::start().await;
    let client = connect(fake.url()).lazy().await.unwrap();
    let refuse = async { fake.request().await.fail("ROOM_FULL").await };
    let (full, ()) = join!(client.feed().join(), refuse);
    assert_eq!(full.unwrap_err().code(), Some(Code::RoomFull));
    let begin = async {
        for code in ["UNAVAILABLE", "RATE_LIMITED"] {
            fake.request().await.fail(code).await;
        }
        fake.request().await.stream("fresh", 1).await
    };
    let (feed, stream) = join!(client.feed().join(), begin);
    let mut feed = feed.unwrap();
    drop(stream);
    for code in ["UNAVAILABLE", "RATE_LIMITED", "ROOM_FULL", "TOO_MANY"] {
        fake.request().await.fail(code).await;
    }
    let mut stream = fake.request().await.stream("complete", 1).await;
    stream.post(2).await;
    assert_eq!(feed.next().await.unwrap().unwrap().seq, Some(2));
}

#[tokio::test]
async fn a_proxy_that_answers_in_between_is_passed() {
    let fake = Fake::start().await;
    let (client, mut feed, stream) = feed(&fake).await;
    let mut statuses = client.statuses();
    drop(stream);
    for status in ["403 Forbidden", "404 Not Found", "401 Unauthorized", "200 OK", "302 Found"] {
        fake.request().await.answer(status, "<html>no such upstream</html>").await;
    }
    while !matches!(statuses.next().await, Some(Status::Offline)) {}
    let mut stream = fake.request().await.stream("complete", 1).await;
    stream.post(2).await;
    assert_eq!(feed.next().await.unwrap().unwrap().seq, Some(2));
    assert!(client.status().is_connected());
}

#[tokio::test]
async fn a_refusal_of_dialogues_in_between_ends_the_room_and_the_status() {
    for (status, code) in [
        ("403 Forbidden", "JOIN_DENIED"),
        ("404 Not Found", "ROOM_NOT_FOUND"),
        ("401 Unauthorized", "UNAUTHENTICATED"),
    ] {
        let fake = Fake::start().await;
        let (client, mut feed, stream) = feed(&fake).await;
        drop(stream);
        let body = json!({"type":"error","code":code,"message":"no"}).to_string();
        fake.request().await.answer(status, &body).await;
        assert!(
            matches!(feed.next().await, Err(Interruption::Ended(error)) if error.code().is_some()),
            "{code}"
        );
        assert!(matches!(client.status(), Status::Idle), "{code}");
    }
}

#[tokio::test]
async fn before_the_first_stream_a_proxys_answer_is_an_error() {
    for status in ["404 Not Found", "200 OK"] {
        let fake = Fake::start().await;
        let client = connect(fake.url()).lazy().await.unwrap();
        let serve = async { fake.request().await.answer(status, "<html>welcome</html>").await };
        let (feed, ()) = join!(client.feed().join(), serve);
        let error = feed.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Connect);
        assert!(error.to_string().contains(&format!("`{status}`, and Dialogue did not write it")), "{error}");
        assert!(matches!(client.status(), Status::Idle));
    }
}

#[tokio::test]
async fn a_token_that_is_wanted_is_told() {
    let fake = Fake::start().await;
    let client = connect(fake.url()).lazy().await.unwrap();
    let body = r#"{"type":"error","code":"UNAUTHENTICATED","message":"a token is required"}"#;
    let serve = async { fake.request().await.answer("401 Unauthorized", body).await };
    let (feed, ()) = join!(client.feed().join(), serve);
    let error = feed.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.to_string().starts_with("the server requires a token"), "{error}");
}

#[tokio::test]
async fn the_status_follows_the_stream() {
    let fake = Fake::start().await;
    let (client, mut feed, mut stream) = feed(&fake).await;
    assert!(client.status().is_connected());
    let mut statuses = client.statuses();
    statuses.next().await;
    drop(stream);
    while !matches!(statuses.next().await, Some(Status::Offline)) {}
    stream = fake.request().await.stream("complete", 1).await;
    while !matches!(statuses.next().await, Some(Status::Streaming)) {}
    stream.say("dialogue:left", json!({"type":"left","roomId":"feed","reason":"deleted"})).await;
    assert!(matches!(feed.next().await, Err(Interruption::Left { .. })));
    assert!(matches!(client.status(), Status::Idle));
    client.close().await;
    assert!(matches!(client.status(), Status::Stopped(_)));
}

#[tokio::test]
async fn history_comes_over_http() {
    let fake = Fake::start().await;
    let (_client, feed, _stream) = feed(&fake).await;
    let serve = async {
        let asked = fake.request().await;
        assert!(asked.head.starts_with("GET /api/rooms/feed/history?before=9&limit=1& "), "{}", asked.head);
        let event = json!({"type":"event","roomId":"feed","event":"new-post","data":{"title":"old"},"from":"system",
            "timestamp":1,"eventId":"id8","seq":8});
        asked
            .answer(
                "200 OK",
                &json!({"type":"history","roomId":"feed","events":[event],"more":true}).to_string(),
            )
            .await;
    };
    let (page, ()) = join!(std::future::IntoFuture::into_future(feed.history().before(9).limit(1)), serve);
    assert_eq!(page.unwrap().older(), Some(8));
}

#[tokio::test]
async fn a_dropped_reader_closes_its_stream() {
    let fake = Fake::start().await;
    let (_client, feed, stream) = feed(&fake).await;
    drop(feed);
    stream.gone().await;
}

#[tokio::test]
async fn a_closed_client_ends_its_streams() {
    let fake = Fake::start().await;
    let (client, mut feed, stream) = feed(&fake).await;
    client.close().await;
    assert!(feed.next().await.unwrap().is_none());
    stream.gone().await;
}
