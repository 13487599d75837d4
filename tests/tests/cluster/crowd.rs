//! People who talk and listen, by the Rust client, and what each of them has seen.

use std::{collections::BTreeMap, time::Duration};

use dialogue::{
    Code, Delivery,
    client::{Error, ErrorKind, Interruption},
    wire::{Accepted, Position},
};
use dialogue_tests::{Result, soon};
use fastrand::Rng;
use tokio::{sync::watch, task::JoinSet, time::Instant};

/// Said by a member.
#[dialogue::event]
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) text: String,
}

dialogue::rooms! {
    /// Of the conformance server's rooms, those where these people meet.
    pub(crate) struct Meeting;
    project(u64): [Message] via [websocket, sse];
}

pub(crate) const PEOPLE: usize = 60;
pub(crate) const ROOMS: u64 = 6;
/// What ends a room for those who listen there.
const END: &str = "the end";
/// How long a send may take, over everything that breaks.
const DEADLINE: Duration = Duration::from_secs(60);

/// What one saw of a room.
#[derive(Debug)]
pub(crate) struct Witness {
    pub(crate) room: u64,
    /// What it saw without a loss between; after each but the last it was told of one.
    pub(crate) stretches: Vec<Vec<Seen>>,
    /// What it said and was told to be accepted, and as what.
    pub(crate) acknowledged: BTreeMap<String, Accepted>,
}

/// An event, as somebody saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) position: Position,
    pub(crate) text: String,
}

/// Who said something, and what of it was accepted, and as what.
type Said = (usize, BTreeMap<String, Accepted>);

pub(crate) struct Crowd {
    listening: JoinSet<Result<(usize, Witness)>>,
    talking: JoinSet<Result<Said>>,
    talks: watch::Sender<bool>,
    url: String,
}

impl Crowd {
    /// Has everybody join at `url`; once all are in, they talk.
    pub(crate) async fn meet(url: &str, rng: &mut Rng) -> Result<Self> {
        let (talks, talking) = watch::channel(false);
        let (mut listening, mut talkers) = (JoinSet::new(), JoinSet::new());
        for number in 0..PEOPLE {
            let room = number as u64 % ROOMS;
            let client = client(url).await?;
            let joined = soon("a join", client.project(room).join()).await??;
            talkers.spawn(talk(joined.sender(), number, talking.clone(), rng.fork()));
            listening.spawn(listen(number, room, joined));
        }
        talks.send_replace(true);
        Ok(Crowd { listening, talking: talkers, talks, url: url.to_owned() })
    }

    /// Fails if anybody gave up.
    pub(crate) fn is_well(&mut self) -> Result {
        if let Some(ended) = self.listening.try_join_next() {
            return Err(ended?.err().unwrap_or_else(|| "somebody left early".into()));
        }
        match self.talking.try_join_next() {
            Some(ended) => Err(ended?.err().unwrap_or_else(|| "somebody fell silent early".into())),
            None => Ok(()),
        }
    }

    /// Has everybody fall silent, and hear all that was said; also returns the error if that came late, which is for after
    /// what they saw.
    pub(crate) async fn part(mut self) -> Result<(Vec<Witness>, Result<(), String>)> {
        self.talks.send_replace(false);
        // The end comes after all that anybody says.
        let said = deadline::within(2 * DEADLINE, "everybody falls silent", self.talking.join_all()).await?;
        let mut said = said.into_iter().collect::<Result<BTreeMap<_, _>>>()?;
        let client = client(&self.url).await?;
        let ending = async {
            let mut rooms = Vec::new();
            for room in 0..ROOMS {
                rooms.push(client.project(room).join().await?);
            }
            // Whoever loses the first of them hears a later one.
            loop {
                for room in &rooms {
                    room.send(Message { text: END.to_owned() }).await?;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let heard = async {
            let mut witnesses = Vec::new();
            while let Some(witness) = self.listening.join_next().await {
                let (number, mut witness) = witness??;
                witness.acknowledged = said.remove(&number).unwrap_or_default();
                witnesses.push(witness);
            }
            Ok(witnesses)
        };
        let (limit, began) = (2 * DEADLINE, Instant::now());
        let heard = tokio::time::timeout(limit + deadline::OVERTIME, heard);
        let heard: Result<_> = tokio::select! {
            heard = heard => heard.map_err(|_| "not everybody heard the end")?,
            failed = ending => return failed,
        };
        Ok((heard?, deadline::took("everybody hears the end", began.elapsed(), limit)))
    }
}

async fn client(url: &str) -> Result<MeetingClient> {
    let client = MeetingClient::connect(url)
        .backoff(Duration::from_millis(50), Duration::from_secs(1))
        .connect_timeout(Duration::from_secs(3))
        .keep_alive(Duration::from_secs(5), Duration::from_secs(3))
        .deadline(DEADLINE);
    Ok(soon("a connection", client.into_future()).await??)
}

/// Says something now and then, each with a number, until told to stop; yields what was accepted.
async fn talk(
    room: dialogue::client::RoomSender<Project>,
    number: usize,
    mut talks: watch::Receiver<bool>,
    mut rng: Rng,
) -> Result<Said> {
    let mut acknowledged = BTreeMap::new();
    talks.wait_for(|talks| *talks).await?;
    for said in 0.. {
        let pause = Duration::from_millis(rng.u64(300..1_500));
        if tokio::time::timeout(pause, talks.wait_for(|talks| !talks)).await.is_ok() {
            break;
        }
        let text = format!("{number}: {said}");
        match room.send(Message { text: text.clone() }).await {
            Ok(accepted) => drop(acknowledged.insert(text, accepted)),
            // It may have been accepted or not.
            Err(error) if ran_out_of_time(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok((number, acknowledged))
}

/// Whether all that a client tried until the deadline came to nothing: the last of it may have been a refusal.
fn ran_out_of_time(error: &Error) -> bool {
    error.kind() == ErrorKind::Deadline
        || error.refusal().is_some_and(|refusal| refusal.code == Code::Unavailable)
}

/// Listens to the end.
async fn listen(number: usize, room: u64, mut joined: ProjectClient) -> Result<(usize, Witness)> {
    let mut stretches = vec![Vec::new()];
    loop {
        match joined.next().await {
            Ok(Some(Delivery { event: ProjectEvent::Message(Message { text }), .. })) if text == END => break,
            Ok(Some(Delivery { event: ProjectEvent::Message(Message { text }), .. })) => {
                let seen = Seen { position: joined.position(), text };
                stretches.last_mut().ok_or("no stretch")?.push(seen);
            }
            Err(Interruption::Lost(_)) => stretches.push(Vec::new()),
            Ok(None) => return Err("the client ended".into()),
            Err(other) => return Err(other.into()),
        }
    }
    Ok((number, Witness { room, stretches, acknowledged: BTreeMap::new() }))
}
