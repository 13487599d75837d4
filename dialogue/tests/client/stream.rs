//! Over Server-Sent Events.

use dialogue::{
    Code,
    client::{Incoming, Interruption, Status},
};
use serde_json::json;
use tokio::join;

use crate::{
    AcmeClient, FeedClient, connect,
    fake::{Asked, Fake},
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
    assert!(matches!(client.status(), Status::Idle));
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
        .answer("503 Service Unavailable", r#"{"code":"UNAVAILABLE","message":"draining"}"#)
        .await;
    let mut stream = fake.request().await.stream("lost", 7).await;
    stream.post(8).await;
    assert!(matches!(feed.next().await, Err(Interruption::Lost(lost)) if lost.head.seq == 7));
    assert_eq!(feed.next().await.unwrap().unwrap().seq, Some(8));
}

#[tokio::test]
async fn a_slow_reader_comes_back_for_the_rest() {
    let fake = Fake::start().await;
    let client = connect(fake.url()).lazy().buffer(2).await.unwrap();
    let (feed, mut stream) =
        join!(client.feed().join(), async { fake.request().await.stream("fresh", 1).await });
    let mut feed = feed.unwrap();
    for seq in 2..6 {
        stream.post(seq).await;
    }
    stream.gone().await;
    assert_eq!(feed.next().await.unwrap().unwrap().seq, Some(2));
    assert_eq!(feed.next().await.unwrap().unwrap().seq, Some(3));
    let asked = fake.request().await;
    assert_eq!(asked.header("last-event-id"), Some("feed=e%2E1.3.id3"));
    asked.stream("complete", 5).await.post(4).await;
    assert_eq!(feed.next().await.unwrap().unwrap().seq, Some(4));
}

#[tokio::test]
async fn a_refused_stream_is_a_value() {
    let fake = Fake::start().await;
    let client = connect(fake.url()).lazy().await.unwrap();
    let refuse = async {
        let body = r#"{"code":"JOIN_DENIED","message":"members only"}"#;
        fake.request().await.answer("403 Forbidden", body).await;
    };
    let (feed, ()) = join!(client.feed().join(), refuse);
    assert_eq!(feed.unwrap_err().code(), Some(Code::JoinDenied));
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
