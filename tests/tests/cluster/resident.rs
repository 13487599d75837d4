//! Somebody who stays in a room whatever becomes of the instance: as light a client as can be.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use dialogue_tests::{Result, Socket, position, until};
use serde_json::{Value, json};
use tokio::{sync::watch, time::sleep};

/// What one saw.
#[derive(Debug, Default)]
pub(crate) struct Resident {
    pub(crate) room: String,
    /// Where it is connected, of the places.
    place: usize,
    token: String,
    since: Value,
    /// The number of the event seen last.
    pub(crate) seq: u64,
    pub(crate) texts: HashSet<String>,
    pub(crate) losses: usize,
    /// What it was told to wait before it came elsewhere, each time.
    pub(crate) told_to_wait: Vec<Duration>,
    /// The same by the connection that it has.
    after: Duration,
    /// How often it came back, and how often an instance that was in service did not let it in.
    pub(crate) returns: usize,
    pub(crate) refused: usize,
    /// How often it did not since Redis did not answer in time.
    pub(crate) late: usize,
    /// The longest that it was without a connection.
    pub(crate) away: Duration,
}

/// The instances that residents come back to.
#[derive(Debug)]
pub(crate) struct Places(Vec<Place>);

#[derive(Debug)]
struct Place {
    address: SocketAddr,
    /// Counts each change between in service (even) and out of service (odd).
    changes: AtomicU64,
}

impl Places {
    pub(crate) fn new(addresses: impl Iterator<Item = SocketAddr>) -> Self {
        Places(addresses.map(|address| Place { address, changes: AtomicU64::new(0) }).collect())
    }

    /// The instance goes out of service, or comes back into it.
    pub(crate) fn change(&self, place: usize) {
        self.0[place].changes.fetch_add(1, Ordering::SeqCst);
    }
}

/// What tells residents to end, and one of a room's to talk.
#[derive(Debug, Clone)]
pub(crate) struct Cue {
    /// Whether the room's talker goes on.
    pub(crate) talks: watch::Receiver<bool>,
    /// How many events the room will have had, once that is known.
    pub(crate) total: watch::Receiver<Option<u64>>,
}

/// One of a room's residents who talks.
pub(crate) struct Talker {
    pub(crate) every: Duration,
    pub(crate) total: watch::Sender<Option<u64>>,
    said: u64,
    answered: bool,
}

impl Talker {
    pub(crate) fn new(every: Duration, total: watch::Sender<Option<u64>>) -> Self {
        Talker { every, total, said: 0, answered: true }
    }

    /// Says the next thing, or again what has no answer.
    async fn say(&mut self, socket: &mut Socket, room: &str) {
        let said = self.said;
        let (text, key) = (said.to_string(), format!("{room} {said}"));
        let data = json!({ "text": text });
        let frame = json!({ "type": "trigger", "id": said, "roomId": room, "event": "message", "data": data, "key": key });
        // The instance may be gone by now: the connection's end says so, behind all that came before.
        let _ = socket.send(frame).await;
    }

    /// Takes the answer to what was said.
    fn hear(&mut self, frame: &Value) {
        let is_answer = frame["type"] == "ok" && frame["id"] == self.said;
        if is_answer && !self.answered {
            self.answered = true;
            self.said += 1;
        }
    }
}

impl Resident {
    /// Joins `room` at the address of that place.
    pub(crate) async fn arrive(places: &Places, place: usize, room: String) -> Result<(Self, Socket)> {
        let mut resident = Resident { room, place, ..Resident::default() };
        let mut socket = None;
        until("somebody arrives", async || {
            socket = resident.enter(places.0[place].address).await.ok();
            socket.is_some()
        })
        .await?;
        Ok((resident, socket.ok_or("nobody arrived")?))
    }

    /// Stays until it has seen all that the room will have had.
    pub(crate) async fn stay(
        mut self,
        places: &Places,
        socket: Socket,
        mut cue: Cue,
        mut talker: Option<Talker>,
    ) -> Result<Self> {
        let mut socket = Some(socket);
        while let Some(there) = socket.take() {
            if let Some(after) = self.listen(there, &mut cue, &mut talker).await? {
                let gone = Instant::now();
                sleep(after).await;
                socket = Some(self.come_back(places).await?);
                self.away = self.away.max(gone.elapsed());
            }
        }
        Ok(self)
    }

    /// Listens, and says what is to be said, until the connection ends; yields how long to wait then, or nothing when all
    /// was seen.
    async fn listen(
        &mut self,
        mut socket: Socket,
        cue: &mut Cue,
        talker: &mut Option<Talker>,
    ) -> Result<Option<Duration>> {
        let mut due = Instant::now();
        loop {
            if cue.total.borrow_and_update().is_some_and(|total| self.seq >= total) {
                return Ok(None);
            }
            if let Some(talker) = talker
                && due <= Instant::now()
            {
                due = Instant::now() + talker.every;
                let talks = *cue.talks.borrow_and_update();
                if talker.answered && !talks {
                    talker.total.send_replace(Some(talker.said));
                } else {
                    talker.answered = false;
                    talker.say(&mut socket, &self.room).await;
                }
            }
            tokio::select! {
                frame = socket.next_or_close() => match frame? {
                    Ok(frame) => self.take(&frame, talker)?,
                    Err(_) => return Ok(Some(self.after)),
                },
                _ = cue.total.changed() => {}
                () = sleep(due.saturating_duration_since(Instant::now())), if talker.is_some() => {}
            }
        }
    }

    /// Takes a frame in.
    fn take(&mut self, frame: &Value, talker: &mut Option<Talker>) -> Result {
        if let Some(talker) = talker {
            talker.hear(frame);
        }
        match frame["type"].as_str() {
            Some("event") => self.see(frame),
            Some("reconnect") => self.is_sent_away(frame),
            _ => Ok(()),
        }
    }

    fn is_sent_away(&mut self, reconnect: &Value) -> Result {
        let after = Duration::from_millis(reconnect["afterMs"].as_u64().ok_or("no time")?);
        self.told_to_wait.push(after);
        self.after = self.after.max(after);
        Ok(())
    }

    fn see(&mut self, event: &Value) -> Result {
        let seq = event["seq"].as_u64().ok_or("no number")?;
        if seq != self.seq + 1 {
            return Err(format!("{seq} came after {} in {}", self.seq, self.room).into());
        }
        self.seq = seq;
        (self.since["seq"], self.since["eventId"]) = (event["seq"].clone(), event["eventId"].clone());
        let text = event["data"]["text"].as_str().ok_or("no text")?;
        if !self.texts.insert(text.to_owned()) {
            return Err(format!("{text:?} came twice in {}", self.room).into());
        }
        Ok(())
    }

    /// Knocks at one address after the other, from the one after the last, until it is let in.
    async fn come_back(&mut self, places: &Places) -> Result<Socket> {
        const PACE: Duration = Duration::from_millis(100);
        const KNOCKS: usize = 300;
        for _ in 0..KNOCKS {
            self.place = (self.place + 1) % places.0.len();
            let Place { address, changes } = &places.0[self.place];
            let before = changes.load(Ordering::SeqCst);
            let why = match self.enter(*address).await {
                Ok(socket) => {
                    self.returns += 1;
                    return Ok(socket);
                }
                Err(error) => error.to_string(),
            };
            if before % 2 == 0 && changes.load(Ordering::SeqCst) == before {
                let late = why.starts_with(deadline::MARKER) || why.contains("can't be reached now");
                *(if late { &mut self.late } else { &mut self.refused }) += 1;
            }
            sleep(PACE).await;
        }
        Err("nobody lets it in".into())
    }

    async fn enter(&mut self, address: SocketAddr) -> Result<Socket> {
        let (mut socket, token) = Socket::anonymous(address, &self.token).await?;
        let mut join = json!({ "type": "join", "id": "join", "roomId": self.room });
        if !self.since.is_null() {
            join["since"] = self.since.clone();
        }
        socket.send(join).await?;
        // An instance may begin to drain at any time.
        let mut away = None;
        let joined = loop {
            match socket.next().await? {
                frame if frame["id"] == "join" => break frame,
                frame if frame["type"] == "reconnect" => away = Some(frame),
                _ => {}
            }
        };
        match joined["resume"].as_str() {
            Some("complete") => {}
            Some("fresh") => self.since = position(joined["epoch"].as_str().unwrap_or_default(), &joined),
            Some("lost") => self.losses += 1,
            _ => return Err(format!("not joined: {joined}").into()),
        }
        (self.token, self.after) = (token, Duration::ZERO);
        if let Some(away) = away {
            self.is_sent_away(&away)?;
        }
        Ok(socket)
    }
}
