//! Somebody who talks in bursts, says again what was not answered, and comes back after each kill.

use std::{collections::BTreeMap, net::SocketAddr, ops::Range};

use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::{
    harness::{Result, Socket, connect},
    log::Log,
};

/// A member of one room.
pub(crate) struct Member {
    pub(crate) room: &'static str,
    number: usize,
    socket: Option<Socket>,
    /// What was shown and told at first: by them it is the same user later.
    token: String,
    user: Value,
    /// After the last event seen.
    since: Value,
    seen: Vec<Value>,
    unanswered: Vec<String>,
    /// The answers, by what was said.
    answered: BTreeMap<String, Value>,
}

impl Member {
    pub(crate) fn new(room: &'static str, number: usize) -> Self {
        Member {
            room,
            number,
            socket: None,
            token: String::new(),
            user: Value::Null,
            since: Value::Null,
            seen: Vec::new(),
            unanswered: Vec::new(),
            answered: BTreeMap::new(),
        }
    }

    /// Joins for the first time, or goes on after the last event seen, as the same user, in the same room.
    pub(crate) async fn come_back(&mut self, address: SocketAddr) -> Result {
        let (first, header) = (self.token.is_empty(), format!("Bearer {}", self.token));
        let header = if first { ("", "") } else { ("authorization", &*header) };
        let mut socket = Socket::knock(connect(address).await?, "/ws", header).await?;
        let greeting = socket.next().await?;
        if first {
            self.token = greeting["anonymousToken"].as_str().ok_or("no token")?.to_owned();
            self.user = greeting["userId"].clone();
            self.create(&mut socket).await?;
        }
        assert_eq!(greeting["userId"], self.user, "a token from before the kill is another user's");
        self.is_described(&mut socket).await?;
        let joined = socket.enter(self.room, self.since.clone()).await?;
        let resume = if first { "fresh" } else { "complete" };
        assert_eq!(joined["resume"], resume, "{} comes back after {}: {joined}", self.number, self.since);
        let missed = joined["replay"].as_u64().unwrap_or(0);
        self.seen.extend(socket.events(usize::try_from(missed)?).await?);
        self.since = socket.since();
        self.socket = Some(socket);
        Ok(())
    }

    /// Says again what was not answered, and more, without waiting; tells `ok` of each answer. Listens until the end.
    pub(crate) async fn talk(mut self, numbers: Range<usize>, ok: mpsc::Sender<()>) -> Result<Self> {
        let mut socket = self.socket.take().ok_or("it has not come back")?;
        self.unanswered.extend(numbers.map(|number| format!("{} says {number}", self.number)));
        for text in &self.unanswered {
            let data = json!({ "text": text });
            let trigger = json!({ "type": "trigger", "id": text, "roomId": self.room, "event": "message", "data": data, "key": text });
            // It may be killed by now.
            let _ = socket.send(trigger).await;
        }
        while let Ok(frame) = socket.next_or_close().await? {
            match frame["type"].as_str() {
                Some("event") => self.seen.push(frame),
                Some("ok") => {
                    self.is_answered(frame);
                    let _ = ok.try_send(());
                }
                // Its store is being killed. It is said again later.
                Some("error") if frame["code"] == "UNAVAILABLE" => {}
                _ => return Err(format!("{} is answered {frame}", self.number).into()),
            }
        }
        self.since = socket.since();
        Ok(self)
    }

    /// Holds what it saw and what it was told against the log.
    pub(crate) fn saw_and_said(&self, log: &Log) -> Result {
        assert_eq!(self.seen, log.events, "{} saw another log than there is", self.number);
        for (text, answer) in &self.answered {
            let seq = answer["seq"].as_u64().ok_or("no number")?;
            let event = log.events.get(usize::try_from(seq)? - 1).ok_or(format!("{text} is missing"))?;
            for field in ["seq", "eventId", "timestamp"] {
                assert_eq!(event[field], answer[field], "{text} was acknowledged otherwise");
            }
            assert_eq!((&event["data"]["text"], &event["from"]), (&json!(text), &self.user));
        }
        Ok(())
    }

    fn is_answered(&mut self, ok: Value) {
        let text = ok["id"].as_str().unwrap_or_default().to_owned();
        self.unanswered.retain(|other| *other != text);
        let before = self.answered.insert(text.clone(), ok);
        assert_eq!(before, None, "{text} was answered before, and said once");
    }

    /// Makes the room, where it isn't one that is always there.
    async fn create(&self, socket: &mut Socket) -> Result {
        if !self.room.contains(':') {
            return Ok(());
        }
        let create = json!({ "type": "createRoom", "id": "create", "roomId": self.room, "name": "Our ü", "description": "kept", "maxSize": 7 });
        let created = socket.ask(create).await?;
        assert_eq!(created["type"], "ok", "{created}");
        Ok(())
    }

    /// Wants a room that it made to be as it made it.
    async fn is_described(&self, socket: &mut Socket) -> Result {
        let rooms = socket.ask(json!({ "type": "listRooms", "id": "list", "limit": 1000 })).await?;
        let room =
            rooms["rooms"].as_array().and_then(|rooms| rooms.iter().find(|room| room["roomId"] == self.room));
        let room = room.ok_or_else(|| format!("{} is not listed: {rooms}", self.room))?;
        if self.room.contains(':') {
            let described = [&room["name"], &room["description"], &room["maxSize"], &room["createdBy"]];
            assert_eq!(described, [&json!("Our ü"), &json!("kept"), &json!(7), &self.user]);
        }
        Ok(())
    }
}
