//! Several servers of one application in this process, over one Redis.

use std::net::SocketAddr;

use dialogue::{
    Authenticator, Redis,
    backplane::Backplane,
    identity::{AuthError, Authenticated, Credentials},
};
use dialogue_tests::{RedisServer, Result, Socket, until};
use serde_json::{Value, json};

use crate::harness::{Message, Running};

dialogue::rooms! {
    /// Rooms that are told apart by what is said of who is in them.
    pub(crate) struct Branch;

    chat: [Message] via [websocket, sse];

    #[room(presence = 300ms)]
    lobby: [Message] via [websocket];

    /// Where nobody has to hurry to be back in time.
    #[room(presence = 5s)]
    hall: [Message] via [websocket];

    #[room(capacity = 2)]
    small: [Message] via [websocket];

    project(u64): [Message] via [websocket];
}

/// Users whose token is their name.
pub(crate) struct Named;

impl Authenticator for Named {
    type Identity = ();

    async fn authenticate(&self, shown: &Credentials<'_>) -> Result<Authenticated<()>, AuthError> {
        Ok(Authenticated::new(shown.token().ok_or(AuthError::Rejected)?, ()))
    }
}

pub(crate) type Place = Running<BranchServer>;

/// Starts one of them over the Redis at `url`.
pub(crate) async fn open(url: String) -> Result<Place> {
    over(Redis::connect(url).await?).await
}

/// Starts one of them.
pub(crate) async fn over(backplane: impl Backplane) -> Result<Place> {
    let server = Branch::server().auth(Named).backplane(backplane).build().await?;
    let routes = server.router();
    Running::serve(server, routes).await
}

/// A Redis, and so many servers over it.
pub(crate) struct House {
    pub(crate) redis: RedisServer,
    pub(crate) places: Vec<Place>,
}

impl House {
    pub(crate) async fn open(places: usize) -> Result<Self> {
        let mut house = House { redis: RedisServer::start().await?, places: Vec::new() };
        for _ in 0..places {
            house.places.push(open(house.redis.url()).await?);
        }
        house.know_each_other().await?;
        Ok(house)
    }

    /// Waits until each server is asked by every other: one that has just begun may not listen yet.
    async fn know_each_other(&self) -> Result {
        let mut everywhere = Vec::new();
        for place in &self.places {
            everywhere.push(Socket::open_as(place.address, "~").await?);
        }
        for place in &self.places {
            until("the servers know each other", async || {
                let there = place.server.users().get("~").connections().await;
                there.is_ok_and(|there| there.len() == everywhere.len())
            })
            .await?;
        }
        for socket in everywhere {
            socket.close().await?;
        }
        Ok(())
    }

    pub(crate) fn address(&self, place: usize) -> SocketAddr {
        self.places[place].address
    }

    /// A connection of a user that is in a room, at one of the servers.
    pub(crate) async fn member(&self, place: usize, user: &str, room: &str) -> Result<Socket> {
        let mut socket = Socket::open_as(self.address(place), user).await?;
        let joined = socket.be_let_in(room, Value::Null).await?;
        if joined["type"] == "joined" { Ok(socket) } else { Err(format!("not in: {joined}").into()) }
    }

    /// Waits until every server says so of who is in a room, and with how many connections.
    pub(crate) async fn all_say(&self, room: &str, members: &[(&str, u64)]) -> Result {
        let size = u64::try_from(members.len())?;
        let expected: Vec<_> = members
            .iter()
            .map(|(user, connections)| json!({ "userId": user, "connections": connections }))
            .collect();
        let mut lists = Vec::new();
        for place in 0..self.places.len() {
            // Whoever asks is in the room too, and is called so that it comes last.
            lists.push(self.member(place, "~", room).await?);
        }
        let mut said = Value::Null;
        let agreed = until("all say the same", async || {
            for list in &mut lists {
                let asked = list.ask(json!({ "type": "members", "id": "list", "roomId": room })).await;
                said = asked.unwrap_or_default();
                let others = said["members"].as_array().map(|all| &all[..all.len().saturating_sub(1)]);
                if others != Some(&expected[..]) || said["size"] != size + 1 {
                    return false;
                }
            }
            true
        })
        .await;
        for list in lists {
            list.close().await?;
        }
        agreed.map_err(|error| format!("{error}; one says {said}").into())
    }

    /// Ends all of it in good order.
    pub(crate) async fn close(self) -> Result {
        for place in self.places {
            place.stop().await?;
        }
        Ok(())
    }
}
