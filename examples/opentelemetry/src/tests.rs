//! What a collector gets.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use dialogue::{Server, backplane::Local};
use serde_json::Value;

use super::*;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
const WITHIN: Duration = Duration::from_secs(80);

/// A collector: takes OTLP over HTTP, and hands on the spans.
fn collector() -> Result<(SocketAddr, Receiver<Value>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let (address, (sender, spans)) = (listener.local_addr()?, channel());
    // It ends with the test.
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let sender = sender.clone();
            thread::spawn(move || while take(&socket, |span| drop(sender.send(span))).is_some() {});
        }
    });
    Ok((address, spans))
}

/// Takes one request; `None` at the end of the connection.
fn take(mut socket: &TcpStream, mut hand_on: impl FnMut(Value)) -> Option<()> {
    let mut reader = BufReader::new(socket);
    let (mut line, mut length) = (String::new(), 0);
    while reader.read_line(&mut line).ok()? > 2 {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body: Value = serde_json::from_slice(&body).ok()?;
    let each = |value: &Value, name: &str| value[name].as_array().cloned().unwrap_or_default();
    for scope in each(&body, "resourceSpans").iter().flat_map(|resource| each(resource, "scopeSpans")) {
        each(&scope, "spans").into_iter().for_each(&mut hand_on);
    }
    socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}").ok()
}

/// Says something over HTTP, as part of the trace.
fn say(address: SocketAddr, text: &str) -> Result {
    let body = format!(r#"{{"text":"{text}"}}"#);
    let mut socket = TcpStream::connect(address)?;
    write!(
        socket,
        "POST /rooms/chat/events/message HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         traceparent: 00-{TRACE}-{PARENT}-01\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    Ok(())
}

/// A socket, as part of the trace; it is closed at once.
fn connect(address: SocketAddr) -> Result {
    let mut socket = TcpStream::connect(address)?;
    write!(
        socket,
        "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         traceparent: 00-{TRACE}-{PARENT}-01\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )?;
    socket.read_exact(&mut [0; 12])?;
    Ok(())
}

async fn instance(backplane: &Local) -> Result<(Server, SocketAddr)> {
    let server = Traced::server().backplane(backplane.clone()).trace_context(OpenTelemetry).build().await?;
    let listener = Server::bind("127.0.0.1:0").await?;
    let (address, app, serving) = (listener.local_addr()?, server.router(), (*server).clone());
    tokio::spawn(async move { serving.serve_until(app, listener, std::future::pending()).await });
    Ok(((*server).clone(), address))
}

fn attribute<'a>(span: &'a Value, name: &str) -> &'a Value {
    let attributes = span["attributes"].as_array().map(Vec::as_slice).unwrap_or_default();
    attributes.iter().find(|one| one["key"] == name).map_or(&Value::Null, |one| &one["value"])
}

#[test]
fn a_trace_goes_through_a_server_to_the_others() -> Result {
    let (address, spans) = collector()?;
    let provider = exporter(&format!("http://{address}"))?;
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("dialogue"));
    tracing_subscriber::registry().with(wanted()).with(layer).init();
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let backplane = Local::new();
        let ((_first, one), (_second, _)) = (instance(&backplane).await?, instance(&backplane).await?);
        tokio::task::spawn_blocking(move || {
            say(one, "a secret").map_err(|error| error.to_string())?;
            connect(one).map_err(|error| error.to_string())
        })
        .await??;
        Ok::<_, Box<dyn std::error::Error>>(())
    })?;

    let mut seen: Vec<Value> = Vec::new();
    let named = |seen: &[Value], name: &str| seen.iter().find(|span| span["name"] == name).cloned();
    let (trigger, delivery, connection) = loop {
        let all = (named(&seen, "trigger"), named(&seen, "delivery"), named(&seen, "connection"));
        if let (Some(trigger), Some(delivery), Some(connection)) = all {
            break (trigger, delivery, connection);
        }
        // What it doesn't send in time comes with the next batch.
        let _ = provider.force_flush();
        seen.push(spans.recv_timeout(WITHIN)?);
    };
    for span in [&trigger, &delivery, &connection] {
        assert_eq!(span["traceId"], TRACE, "{span}");
    }
    assert_eq!((&trigger["parentSpanId"], &connection["parentSpanId"]), (&PARENT.into(), &PARENT.into()));
    assert_eq!(
        delivery["parentSpanId"], trigger["spanId"],
        "it goes on from the event at the other instance"
    );
    assert_eq!(attribute(&trigger, "room")["stringValue"], "chat");
    assert_eq!(attribute(&trigger, "outcome")["stringValue"], "accepted");
    assert!(!seen.iter().any(|span| span.to_string().contains("a secret")));
    Ok(())
}
