//! TCP connections and HTTP on them: how long they may do what, and sockets over HTTP/2.

use std::time::{Duration, Instant};

use bytes::Bytes;
use dialogue::server::ServerBuilder;
use futures_util::{SinkExt, StreamExt, future::poll_fn};
use h2::{RecvStream, SendStream, client::SendRequest, ext::Protocol};
use http::{Method, Request, Response};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split},
    net::TcpStream,
    task::JoinHandle,
};

use crate::harness::{Acme, Message, Result, Running, Socket, Stream, ask, connect, seqs, soon};

pub(crate) const SHORT: Duration = Duration::from_millis(200);
const HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n";

/// Asks for `/health` on a connection that is kept, and reads the answer.
pub(crate) async fn is_healthy(stream: &mut TcpStream) -> Result<bool> {
    stream.write_all(HEALTH).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        if soon("an answer", stream.read_buf(&mut answer)).await?? == 0 {
            return Ok(false);
        }
    }
    Ok(answer.starts_with(b"HTTP/1.1 200"))
}

#[tokio::test]
async fn a_connection_waits_longer_for_its_next_request_than_for_a_head() -> Result {
    let running = Running::with(|server| server.header_read_timeout(SHORT)).await?;
    let mut kept = connect(running.address).await?;
    assert!(is_healthy(&mut kept).await?);
    // A connection that says nothing is closed after the time of a head: as long has the other one waited, at least.
    let mut silent = connect(running.address).await?;
    assert_eq!(soon("the end of a silent connection", silent.read(&mut [0])).await??, 0);
    assert!(is_healthy(&mut kept).await?);
    // The head of its next request has no more time than that of the first.
    kept.write_all(b"GET /hea").await?;
    assert_eq!(soon("the end within a head", kept.read(&mut [0])).await??, 0);
    running.stop().await
}

/// Both are served by the one thread of this test, which does nothing for longer than either may take.
#[tokio::test]
async fn what_came_in_time_is_read_by_a_server_that_is_late() -> Result {
    let running = Running::with(|server| server.header_read_timeout(SHORT).keep_alive(SHORT, SHORT)).await?;
    let (mut requests, mut pongs) = (0, 0);
    // A client that is late itself, as on a busy machine, says nothing about the server.
    while requests < 8 {
        let began = Instant::now();
        let mut stream = connect(running.address).await?;
        // Accepted, and its time begins.
        tokio::time::sleep(SHORT / 10).await;
        stream.try_write(HEALTH)?;
        if began.elapsed() >= SHORT {
            continue;
        }
        std::thread::sleep(2 * SHORT);
        let mut answer = Vec::new();
        soon("an answer", stream.read_buf(&mut answer)).await??;
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
        requests += 1;
    }
    while pongs < 8 {
        let began = Instant::now();
        let mut socket = Socket::open(running.address).await?;
        // The client's pong answers this ping, and waits for the server.
        let ping = soon("a ping", socket.frames.next()).await?.ok_or("the end")??;
        assert!(ping.is_ping(), "{ping}");
        socket.frames.flush().await?;
        // The ping came after one such time of silence, and the pong has another.
        if began.elapsed() >= 2 * SHORT {
            continue;
        }
        std::thread::sleep(2 * SHORT);
        assert_eq!(socket.ask(json!({ "type": "listRooms", "id": 1 })).await?["type"], "rooms");
        pongs += 1;
    }
    running.stop().await
}

#[tokio::test]
async fn a_connection_that_waits_too_long_is_closed() -> Result {
    let running = Running::with(|server| server.idle_timeout(SHORT)).await?;
    let mut kept = connect(running.address).await?;
    let (mut http2, connection) = http2(connect(running.address).await?, h2::client::Builder::new()).await?;
    let socket = Socket::join(running.address, "chat").await?;
    let mut stream = Stream::open(running.address, "room=chat", "").await?;
    assert!(is_healthy(&mut kept).await?);
    assert_eq!(get(&mut http2, "/health").await?.status(), 200);
    assert_eq!(soon("the end", kept.read(&mut [0])).await??, 0);
    soon("the end of HTTP/2", connection).await???;
    // Sockets and streams aren't idle connections.
    running.server.chat().trigger(Message { text: "here".to_owned() }).await?;
    assert_eq!(stream.events(1).await?.len(), 1);
    drop(socket);
    running.stop().await
}

#[tokio::test]
async fn a_stream_of_http2_that_nobody_reads_is_reset_alone() -> Result {
    let running = Running::with(|server| server.response_stall_timeout(SHORT)).await?;
    long_history(&running).await?;
    for window in [0, 1, 20_000] {
        let mut config = h2::client::Builder::new();
        config.initial_window_size(window);
        let (mut http2, connection) = http2(connect(running.address).await?, config).await?;
        let mut unread = get(&mut http2, "/rooms/chat/history?limit=200").await?;
        let mut other = get(&mut http2, "/nowhere").await?;
        let reset = soon("a reset", async {
            while let Some(data) = unread.body_mut().data().await {
                data?;
            }
            Ok::<_, h2::Error>(())
        });
        let reset = reset.await?.expect_err("the whole of a response that isn't taken");
        assert!(reset.is_reset() && reset.is_remote(), "{reset}");
        // The connection is as good as before.
        assert!(other.body_mut().data().await.is_none());
        assert_eq!(get(&mut http2, "/nowhere").await?.status(), 404);
        connection.abort();
    }
    running.stop().await
}

#[tokio::test]
async fn responses_that_nobody_reads_leave_room_for_others() -> Result {
    // One page, and not two.
    let running = Running::with(|server| server.max_buffered_response_bytes(400 << 10)).await?;
    long_history(&running).await?;
    let path = "/rooms/chat/history?limit=200";
    let mut config = h2::client::Builder::new();
    config.initial_window_size(0);
    let (mut http2, connection) = http2(connect(running.address).await?, config).await?;
    // Both at once, since the one that is answered waits only for so long.
    let mut other = http2.clone();
    let (one, other) = tokio::try_join!(get(&mut http2, path), get(&mut other, path))?;
    let (mut unread, refused) = if one.status() == 200 { (one, other) } else { (other, one) };
    assert_eq!((unread.status().as_u16(), refused.status().as_u16()), (200, 503));
    // Short ones aren't counted.
    assert!(
        ask(running.address, "GET", "/rooms/chat/history?limit=2", "").await?.0.starts_with("HTTP/1.1 200")
    );
    // A client that takes nothing makes room long before the time of a response is over.
    let reset = soon("a reset", unread.body_mut().data()).await?;
    assert!(reset.is_some_and(|data| data.is_err_and(|error| error.is_reset())));
    let (head, body) = ask(running.address, "GET", path, "").await?;
    assert!(head.starts_with("HTTP/1.1 200") && body.len() > 200 << 10, "{head}");
    connection.abort();
    running.stop().await
}

#[tokio::test]
async fn a_response_over_http2_comes_whole() -> Result {
    let running = Running::start().await?;
    long_history(&running).await?;
    let (mut http2, connection) = http2(connect(running.address).await?, h2::client::Builder::new()).await?;
    let mut response = get(&mut http2, "/rooms/chat/history?limit=200").await?;
    let length = response.headers()["content-length"].to_str()?.parse::<usize>()?;
    let mut body = Vec::new();
    while let Some(data) = soon("a part of the body", response.body_mut().data()).await? {
        let data = data?;
        response.body_mut().flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    assert_eq!(body.len(), length);
    let page: Value = serde_json::from_slice(&body)?;
    assert!(page["events"].as_array().is_some_and(|events| events.len() > 100));
    connection.abort();
    running.stop().await
}

#[tokio::test]
async fn a_connection_of_http2_has_so_many_streams() -> Result {
    let running = Running::with(|server| server.max_http2_streams(3)).await?;
    let (mut http2, connection) = http2(connect(running.address).await?, h2::client::Builder::new()).await?;
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(get(&mut http2, "/events?room=chat").await?);
    }
    assert_eq!(http2.current_max_send_streams(), 3);
    connection.abort();
    running.stop().await
}

#[tokio::test]
async fn sockets_open_over_http2() -> Result {
    let running = Running::with(|server| server.idle_timeout(SHORT)).await?;
    let (mut http2, connection) = http2(connect(running.address).await?, h2::client::Builder::new()).await?;
    soon("the setting of RFC 8441", async {
        while !http2.is_extended_connect_protocol_enabled() {
            poll_fn(|cx| http2.poll_ready(cx)).await?;
            tokio::task::yield_now().await;
        }
        Ok::<_, h2::Error>(())
    })
    .await??;
    let mut members = Vec::new();
    for _ in 0..2 {
        let mut member = Socket::framed(websocket(&mut http2, "/ws").await?).await?.greeted().await?;
        assert_eq!(member.enter("chat", Value::Null).await?["resume"], "fresh");
        members.push(member);
    }
    let mut other = Socket::join(running.address, "chat").await?;
    for (number, member) in members.iter_mut().enumerate() {
        member.say("chat", &number.to_string()).await?;
        assert_eq!(seqs(&other.events(1).await?), [number as u64 + 1]);
    }
    for member in &mut members {
        assert_eq!(seqs(&member.events(2).await?), [1, 2]);
    }
    // More than a window holds.
    for _ in 0..30 {
        running.server.chat().trigger(Message { text: "x".repeat(8 << 10) }).await?;
    }
    for member in &mut members {
        assert_eq!(seqs(&member.events(30).await?).last(), Some(&32));
    }
    members.remove(0).close().await?;
    assert!(!connection.is_finished());
    let closing = tokio::spawn(async move { members.remove(0).rest().await });
    running.stop().await?;
    assert_eq!(soon("the end", closing).await??.ok().and_then(|(_, code)| code), Some(1012));
    Ok(())
}

#[tokio::test]
async fn only_a_websocket_is_connected_over_http2() -> Result {
    let running = Running::with(|server| server.echo_at("/echo")).await?;
    let (mut http2, connection) = http2(connect(running.address).await?, h2::client::Builder::new()).await?;
    let ask = |protocol: Option<&'static str>, version: &str, path: &str, origin: &str| {
        let mut request = Request::builder()
            .method(if protocol.is_some() { Method::CONNECT } else { Method::GET })
            .uri(format!("http://localhost{path}"))
            .header("sec-websocket-version", version);
        if !origin.is_empty() {
            request = request.header("origin", origin);
        }
        if let Some(protocol) = protocol {
            request = request.extension(Protocol::from_static(protocol));
        }
        request.body(()).expect("a request")
    };
    let websocket = Some("websocket");
    for (request, status) in [
        (ask(websocket, "13", "/ws", "http://localhost"), 200),
        (ask(websocket, "13", "/echo", ""), 200),
        (ask(websocket, "12", "/ws", ""), 426),
        (ask(websocket, "13", "/ws", "https://evil.example"), 403),
        (ask(Some("connect-udp"), "13", "/ws", ""), 405),
        (ask(None, "13", "/ws", ""), 400),
        (ask(websocket, "13", "/health", ""), 405),
        (ask(websocket, "13", "/nowhere", ""), 404),
    ] {
        let shown = format!("{request:?}");
        poll_fn(|cx| http2.poll_ready(cx)).await?;
        let (response, _stream) = http2.send_request(request, false)?;
        assert_eq!(soon("an answer", response).await??.status(), status, "{shown}");
    }
    connection.abort();
    running.stop().await
}

/// As much as one page of history holds.
pub(crate) async fn long_history(running: &Running) -> Result {
    for _ in 0..200 {
        running.server.chat().trigger(Message { text: "x".repeat(2 << 10) }).await?;
    }
    Ok(())
}

type Connection = JoinHandle<Result<(), h2::Error>>;

async fn http2(stream: TcpStream, config: h2::client::Builder) -> Result<(SendRequest<Bytes>, Connection)> {
    let (client, connection) = soon("HTTP/2", config.handshake(stream)).await??;
    Ok((client, tokio::spawn(connection)))
}

async fn get(client: &mut SendRequest<Bytes>, path: &str) -> Result<Response<RecvStream>> {
    soon("a stream", poll_fn(|cx| client.poll_ready(cx))).await??;
    let request = Request::builder().uri(format!("http://localhost{path}")).body(())?;
    let (response, _) = client.send_request(request, true)?;
    Ok(soon("the head of an answer", response).await??)
}

/// Opens a WebSocket on a stream of HTTP/2 (RFC 8441, section 5).
async fn websocket(client: &mut SendRequest<Bytes>, path: &str) -> Result<DuplexStream> {
    let request = Request::builder()
        .method(Method::CONNECT)
        .uri(format!("http://localhost{path}"))
        .extension(Protocol::from_static("websocket"))
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "dialogue.v1")
        .body(())?;
    soon("a stream", poll_fn(|cx| client.poll_ready(cx))).await??;
    let (response, send) = client.send_request(request, false)?;
    let response = soon("an answer", response).await??;
    if response.status() != 200 || response.headers()["sec-websocket-protocol"] != "dialogue.v1" {
        return Err(format!("{response:?}").into());
    }
    let (ours, theirs) = duplex(64 << 10);
    let (read, write) = split(theirs);
    let receive = response.into_body();
    tokio::spawn(async move { from_stream(receive, write).await });
    tokio::spawn(async move { to_stream(read, send).await });
    Ok(ours)
}

async fn from_stream(mut stream: RecvStream, mut pipe: impl AsyncWriteExt + Unpin) -> Result {
    while let Some(data) = stream.data().await {
        let data = data?;
        pipe.write_all(&data).await?;
        stream.flow_control().release_capacity(data.len())?;
    }
    Ok(pipe.shutdown().await?)
}

async fn to_stream(mut pipe: impl AsyncReadExt + Unpin, mut stream: SendStream<Bytes>) -> Result {
    let mut bytes = [0; 4 << 10];
    loop {
        match pipe.read(&mut bytes).await? {
            0 => return Ok(stream.send_data(Bytes::new(), true)?),
            read => stream.send_data(Bytes::copy_from_slice(&bytes[..read]), false)?,
        }
    }
}

#[tokio::test]
async fn what_a_proxy_says_of_the_host_counts_where_there_is_one() -> Result {
    let come = async |configure: fn(ServerBuilder<Acme>) -> ServerBuilder<Acme>, headers: &str| {
        let running = Running::with(configure).await?;
        let socket = format!(
            "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}"
        );
        let mut wire = connect(running.address).await?;
        wire.write_all(format!("GET /ws HTTP/1.1\r\n{socket}\r\n").as_bytes()).await?;
        let mut head = [0; 12];
        soon("an answer", wire.read_exact(&mut head)).await??;
        drop(wire);
        running.stop().await?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(String::from_utf8_lossy(&head[9..]) == "101")
    };
    let behind: fn(ServerBuilder<Acme>) -> ServerBuilder<Acme> = |server| server.behind_proxies(1);
    let origin = "Origin: http://acme.example:8080\r\n";
    // nginx's `$http_host`, `$host`, and the default `$proxy_host`.
    let own = "X-Forwarded-Host: acme.example:8080\r\n";
    assert!(come(|server| server, &format!("Host: acme.example:8080\r\n{origin}")).await?);
    for host in ["acme.example:8080", "acme.example", "dialogue", "127.0.0.1:3000"] {
        assert!(come(behind, &format!("Host: {host}\r\n{origin}{own}")).await?, "{host}");
        let forwarded = "Forwarded: for=203.0.113.7;host=\"acme.example:8080\"\r\n";
        assert!(come(behind, &format!("Host: {host}\r\n{origin}{forwarded}")).await?, "{host}");
    }
    assert!(come(behind, &format!("Host: acme.example\r\n{origin}X-Forwarded-Port: 8080\r\n")).await?);
    // Where no proxy is known of, that may be anybody's invention; and a stranger's page stays one.
    assert!(!come(|server| server, &format!("Host: dialogue\r\n{origin}{own}")).await?);
    assert!(!come(behind, &format!("Host: dialogue\r\nOrigin: https://evil.example\r\n{own}")).await?);
    for hidden in ["Origin: null\r\n", "Origin: file://\r\n"] {
        let headers = format!("Host: localhost\r\n{hidden}");
        assert!(!come(|server| server.allow_any_origin(), &headers).await?);
        assert!(come(|server| server.allow_hidden_origin(), &headers).await?);
    }
    Ok(())
}
