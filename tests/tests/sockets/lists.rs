//! Lists of rooms, most of which are hidden from their reader.

use dialogue::prelude::*;
use serde_json::{Value, json};

use crate::harness::{Message, Result, Running, Socket, ask, is_refused};

dialogue::rooms! {
    struct Forum;

    topic(u64): [Message] via [websocket];
}

/// Shows one room.
struct Keeper;

const ROOMS: u64 = 5_000;
const SHOWN: &str = "topic:999";

impl Hooks for Keeper {
    fn sees(&self, _: &Caller<()>, room: &RoomRef<'_>) -> bool {
        room.id() == SHOWN
    }
}

/// Where a list goes on, and what was found.
fn page(frame: &Value) -> (Option<String>, Vec<String>) {
    let rooms = frame["rooms"].as_array().into_iter().flatten();
    let rooms = rooms.filter_map(|room| room["roomId"].as_str().map(str::to_owned));
    let next = frame["next"].as_str().map(str::to_owned);
    assert_eq!(frame["more"], next.is_some(), "{frame}");
    (next, rooms.collect())
}

#[tokio::test]
async fn a_list_of_hidden_rooms_comes_to_its_end_in_pages_and_names_none() -> Result {
    let server = Forum::server().hooks(Keeper).build().await?;
    let routes = server.router();
    for room in 0..ROOMS {
        server.topic(room).create(NewRoom::new()).await?;
    }
    let running = Running::serve(server, routes).await?;
    let mut socket = Socket::open(running.address).await?;
    let (mut found, mut after, mut pages) = (Vec::new(), Value::Null, 0);
    loop {
        let mut list = json!({ "type": "listRooms", "id": 1 });
        let mut path = "/rooms".to_owned();
        if let Some(after) = after.as_str() {
            list["after"] = after.into();
            path += &format!("?after={after}");
        }
        let frame = socket.ask(list).await?;
        let over_http: Value = serde_json::from_str(&ask(running.address, "GET", &path, "").await?.1)?;
        let (next, rooms) = page(&frame);
        assert_eq!(rooms, page(&over_http).1);
        found.extend(rooms);
        pages += 1;
        let Some(next) = next else { break };
        assert!(!next.contains("topic"), "{next}");
        after = next.into();
    }
    assert_eq!((found, pages), (vec![SHOWN.to_owned()], 3));
    let refusal = socket.ask(json!({ "type": "listRooms", "id": 1, "after": "~made-up" })).await?;
    assert!(is_refused(&refusal, "INVALID_REQUEST"), "{refusal}");
    running.stop().await
}
