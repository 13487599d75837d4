//! What goes into a room is read by everybody in it, by the event's own type too.

use dialogue::{Code, Cx, Flow, Middleware, Next, Refusal, Room, Server};
use serde_json::{json, value::RawValue};

use crate::harness::{Result, Running, Socket, Stream, is_refused};

/// What a meter shows.
#[dialogue::event]
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) value: f64,
    pub(crate) unit: Option<String>,
}

/// What a meter shows, divided by how often it was asked.
#[dialogue::event]
#[derive(Debug)]
pub(crate) struct Mean {
    pub(crate) sum: f32,
    pub(crate) count: f32,
}

/// What another program sends.
#[dialogue::event]
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) body: Box<RawValue>,
}

/// What is written without the part that its reader needs.
#[dialogue::event]
#[derive(Debug)]
pub(crate) struct Torn {
    pub(crate) kept: String,
    #[serde(skip_serializing)]
    pub(crate) dropped: String,
}

dialogue::rooms! {
    struct Plant;

    meters: [Reading, Report, Torn, Mean with [Divide]] via [websocket, sse];
}

/// Divides by zero as floats do.
#[derive(Debug, Default)]
pub(crate) struct Divide;

impl<R: Room> Middleware<R, Mean> for Divide {
    async fn handle(&self, cx: &Cx<R>, event: Mean, next: impl Next<R, Mean>) -> Flow {
        next.run(cx, Mean { sum: event.sum / event.count, count: 1.0 }).await
    }
}

async fn start() -> Result<Running<PlantServer>> {
    let server = Plant::server().build().await?;
    let routes = Server::router(&server);
    Running::serve(server, routes).await
}

fn refused_at(refusal: &Refusal, path: &str) -> bool {
    refusal.code == Code::ValidationFailed
        && refusal.details.first().is_some_and(|detail| detail.path == path)
}

fn report(body: &str) -> Result<Report> {
    Ok(Report { body: RawValue::from_string(body.to_owned())? })
}

#[tokio::test]
async fn what_json_can_not_say_is_refused_to_server_code() -> Result {
    let running = start().await?;
    let meters = running.server.meters();
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let refused = meters.trigger(Reading { value, unit: None }).await.unwrap_err();
        assert!(refused_at(&refused, "/value"), "{value}: {refused:?}");
    }
    let torn = Torn { kept: "a".into(), dropped: "b".into() };
    assert_ne!(torn.kept, torn.dropped);
    assert!(refused_at(&meters.trigger(torn).await.unwrap_err(), "/dropped"));
    assert_eq!(meters.trigger(Reading { value: 1.5, unit: None }).await?.seq, Some(1));
    let page = meters.history().await?;
    assert_eq!(page.events.len(), 1);
    running.stop().await
}

#[tokio::test]
async fn what_a_middleware_makes_unreadable_is_refused() -> Result {
    let running = start().await?;
    let mut member = Socket::join(running.address, "meters").await?;
    let mean = |count| json!({ "type": "trigger", "roomId": "meters", "event": "mean", "data": { "sum": 0, "count": count } });
    let refused = member.ask(mean(0)).await?;
    assert!(
        is_refused(&refused, "VALIDATION_FAILED") && refused["details"][0]["path"] == "/sum",
        "{refused}"
    );
    assert_eq!(member.ask(mean(1)).await?["seq"], 1);
    let torn = json!({ "kept": "a", "dropped": "b" });
    let torn = json!({ "type": "trigger", "roomId": "meters", "event": "torn", "data": torn });
    assert!(is_refused(&member.ask(torn).await?, "VALIDATION_FAILED"));
    running.stop().await
}

#[tokio::test]
async fn raw_json_is_one_line_of_a_stream() -> Result {
    let running = start().await?;
    let mut stream = Stream::open(running.address, "room=meters", "").await?;
    let mut member = Socket::join(running.address, "meters").await?;
    let body = "{\n \"a\\n b\" :\r[1.50,\n\n2]}";
    let frame =
        format!(r#"{{"type":"trigger","id":7,"roomId":"meters","event":"report","data":{{"body":{body}}}}}"#);
    member.send_text(frame).await?;
    running.server.meters().trigger(report(body)?).await?;
    for event in stream.events(2).await? {
        assert_eq!(event["data"], json!({ "body": { "a\n b": [1.5, 2] } }));
    }
    for bad in [r#""\ud83d""#, "[1e999]"] {
        let refused = running.server.meters().trigger(report(bad)?).await.unwrap_err();
        assert_eq!(refused.code, Code::ValidationFailed, "{bad}");
    }
    drop((stream, member));
    running.stop().await
}
