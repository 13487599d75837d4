//! What one would write by hand: axum, a `tokio::sync::broadcast` channel for each room, two tasks for each connection
//! as in axum's chat example, the text encoded once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    extract::{
        Path, State,
        ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade},
    },
    response::Response,
    routing::get,
    serve::ListenerExt,
};
use futures_util::{SinkExt, StreamExt};
use tokio::{
    net::TcpListener,
    sync::broadcast::{self, error::RecvError},
};

type Rooms = Arc<Mutex<HashMap<String, broadcast::Sender<Utf8Bytes>>>>;

/// Serves until the process is killed.
pub(crate) fn serve(nodelay: bool) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let app = Router::new()
            .route("/sub/{room}", get(subscribe))
            .route("/pub/{room}", get(publish))
            .with_state(Rooms::default());
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("listening on http://{}", listener.local_addr()?);
        let listener = listener.tap_io(move |stream| {
            // A socket that refuses the option works without.
            let _ = stream.set_nodelay(nodelay);
        });
        axum::serve(listener, app).await
    })
}

async fn subscribe(
    upgrade: WebSocketUpgrade,
    Path(name): Path<String>,
    State(rooms): State<Rooms>,
) -> Response {
    let room = room(&rooms, name);
    upgrade.on_upgrade(async move |socket: WebSocket| {
        let (mut sender, mut receiver) = socket.split();
        let mut messages = room.subscribe();
        let mut sending = tokio::spawn(async move {
            loop {
                let sent = match messages.recv().await {
                    Ok(text) => sender.send(Message::Text(text)).await,
                    // The table says that they are missing.
                    Err(RecvError::Lagged(_)) => Ok(()),
                    Err(RecvError::Closed) => break,
                };
                if sent.is_err() {
                    break;
                }
            }
        });
        let mut receiving = tokio::spawn(async move { while let Some(Ok(_)) = receiver.next().await {} });
        tokio::select! {
            _ = &mut sending => receiving.abort(),
            _ = &mut receiving => sending.abort(),
        };
    })
}

async fn publish(
    upgrade: WebSocketUpgrade,
    Path(name): Path<String>,
    State(rooms): State<Rooms>,
) -> Response {
    let room = room(&rooms, name);
    upgrade.on_upgrade(async move |mut socket: WebSocket| {
        while let Some(Ok(message)) = socket.recv().await {
            if let Message::Text(text) = message {
                // Nobody may be there.
                let _ = room.send(text);
            }
        }
    })
}

fn room(rooms: &Rooms, name: String) -> broadcast::Sender<Utf8Bytes> {
    let mut rooms = rooms.lock().unwrap_or_else(PoisonError::into_inner);
    rooms.entry(name).or_insert_with(|| broadcast::channel(1_024).0).clone()
}
