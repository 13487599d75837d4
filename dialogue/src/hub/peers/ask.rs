//! What is to be done wherever a user is connected: every instance is asked, and says what came of it.

use std::{
    collections::{BTreeSet, HashMap},
    pin::Pin,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Semaphore, mpsc},
    time::{Instant, timeout},
};

use super::{ALL, Message, Peers};
use crate::{
    hub::{Instance, Link},
    store::StoreError,
    wire::Id,
};

/// What is asked of an instance.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Question {
    /// To hand an event to a user's connections in a room.
    #[serde(rename_all = "camelCase")]
    Whisper {
        room_id: Box<str>,
        user: Box<str>,
        event: Box<str>,
        event_id: Box<str>,
        timestamp: u64,
        /// The payload as JSON.
        data: String,
        from: Box<str>,
        server: bool,
        meta: Option<Box<str>>,
    },
    /// To put a user's connections out of a room, or of all.
    #[serde(rename_all = "camelCase")]
    PutOut { user: Box<str>, room_id: Option<Box<str>>, reason: String },
    /// To close a user's connections, or one of them.
    #[serde(rename_all = "camelCase")]
    Disconnect { user: Box<str>, client_id: Option<Box<str>>, reason: String },
    /// To free the places in a full room that dead connections of a user hold.
    #[serde(rename_all = "camelCase")]
    Free { user: Box<str>, room_id: Box<str> },
    /// To tell a user's connections.
    Connections { user: Box<str> },
}

/// What an instance did.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Answer {
    /// To how many connections.
    pub(crate) count: usize,
    /// Those that were to be told of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) connections: Vec<ConnectionAt>,
}

/// A connection at an instance.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConnectionAt {
    pub(crate) client_id: String,
    pub(crate) rooms: Vec<String>,
}

/// Who does at this instance what is asked of it.
pub(crate) trait Attendant: Send + Sync {
    /// Does it. Ends in a bounded time.
    fn attend(self: Arc<Self>, question: Question) -> Pin<Box<dyn Future<Output = Answer> + Send>>;

    /// Tells the application who left a room that was deleted at another instance.
    fn ended(
        self: Arc<Self>,
        instance: Arc<Instance>,
        gone: Vec<Arc<Link>>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>>;

    /// Tells those who watch that a room was created, or deleted, at another instance.
    fn announce(self: Arc<Self>, room_id: &str, created: bool) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// Questions that wait for answers, and those that are being answered.
pub(super) struct Asked {
    waiting: Mutex<HashMap<Box<str>, Asker>>,
    answering: Arc<Semaphore>,
    /// Who has just come: until everybody is told of all who are there.
    arrivals: Mutex<HashMap<Id, Instant>>,
    /// Peers that said who is in a room and aren't in the list of peers, which may be a moment old. They may also have
    /// left it: so nobody waits for their answers.
    speaking: Mutex<HashMap<Id, Instant>>,
}

/// Who waits for answers, and from whom each is.
type Asker = mpsc::Sender<(Id, Answer)>;

/// How long the others have.
const WITHIN: Duration = Duration::from_secs(2);
/// Timeout of questions for which the others wait for clients themselves.
const PATIENTLY_WITHIN: Duration = Duration::from_secs(4);
/// How often those who are gone meanwhile are no longer waited for.
const LOOK: Duration = Duration::from_millis(100);
/// Answers that may wait.
const ANSWERS: usize = 1_024;
/// For how long somebody who came is new.
const NEW: Duration = Duration::from_secs(5);
/// Questions that are answered at once; beyond, they are not.
const ANSWERING: usize = 256;

impl Peers {
    /// Who does what is asked of this instance.
    pub(crate) fn attend(&self, attendant: Weak<dyn Attendant>) {
        // There is one engine for the rooms.
        let _ = self.attendant.set(attendant);
    }

    /// Asks all others.
    ///
    /// # Errors
    ///
    /// They can't be asked, or one of them doesn't answer.
    pub(crate) async fn ask_all(&self, question: Question) -> Result<Vec<Answer>, StoreError> {
        let others = self.reachable().into_iter().filter(|peer| *peer != self.id).collect();
        self.ask(ALL, question, others).await
    }

    /// Asks those of the others that follow a room, and waits for some of them.
    ///
    /// # Errors
    ///
    /// They can't be asked, or one of them doesn't answer.
    pub(crate) async fn ask(
        &self,
        room_id: &str,
        question: Question,
        mut whom: BTreeSet<Id>,
    ) -> Result<Vec<Answer>, StoreError> {
        if whom.is_empty() {
            return Ok(Vec::new());
        }
        let within = if matches!(question, Question::Free { .. }) { PATIENTLY_WITHIN } else { WITHIN };
        let (sender, mut answers) = mpsc::channel(ANSWERS);
        let waiting = Waiting { asked: &self.asked, id: Id::fresh() };
        self.asked.waiting.lock().insert(waiting.id.as_str().into(), sender);
        self.tell(room_id, &Message::Ask(waiting.id.as_str().into(), question)).await?;
        let (mut given, until) = (Vec::new(), Instant::now() + within);
        while !whom.is_empty() {
            if Instant::now() >= until {
                return Err(StoreError::new(format!("{} instances did not answer in time", whom.len())));
            }
            match timeout(LOOK, answers.recv()).await {
                Ok(Some((peer, answer))) if whom.remove(&peer) => given.push(answer),
                Ok(_) => {}
                Err(_) => {
                    let there = self.reachable();
                    whom.retain(|peer| there.contains(peer));
                }
            }
        }
        Ok(given)
    }

    /// A peer says something.
    pub(super) fn heard(self: &Arc<Self>, room_id: &Arc<str>, peer: Id, message: Message) {
        match message {
            Message::Ask(id, question) => self.answer(Arc::clone(room_id), id, question),
            Message::Answer(id, answer) => {
                let asker = self.asked.waiting.lock().get(&id).cloned();
                // Who asked may be gone, or have more answers than there are instances.
                let _ = asker.map(|asker| asker.try_send((peer, answer)));
            }
            Message::Created(room) => self.announce(room, true),
            Message::Gone(room) => self.announce(room, false),
            Message::Here => note_new(&self.asked.arrivals, peer),
            // Those are the room's.
            Message::Deleted | Message::Renamed | Message::Described | Message::Saved => {}
        }
    }

    /// Notes a peer that says who is in a room, though the last list of peers doesn't name it.
    pub(super) fn speaks(&self, peer: Id) {
        note_new(&self.asked.speaking, peer);
    }

    /// Peers that are there, those too that came after the last list of them: they answer what they are asked.
    fn reachable(&self) -> BTreeSet<Id> {
        self.there().iter().copied().chain(new(&self.asked.arrivals)).collect()
    }

    /// Peers whose users count: those that are [reachable](Self::reachable), and those that said lately who is in a
    /// room.
    pub(in crate::hub) fn counted(&self) -> BTreeSet<Id> {
        self.reachable().into_iter().chain(new(&self.asked.speaking)).collect()
    }

    fn attendant(&self) -> Option<Arc<dyn Attendant>> {
        self.attendant.get().and_then(Weak::upgrade)
    }

    fn answer(self: &Arc<Self>, room_id: Arc<str>, id: Box<str>, question: Question) {
        let attendant = self.attendant();
        let Ok(permit) = Arc::clone(&self.asked.answering).try_acquire_owned() else {
            return tracing::debug!(
                "too much is asked of this instance at once: a question of a peer is passed over"
            );
        };
        let peers = Arc::clone(self);
        // It ends with what is asked for, and a bounded call.
        self.runtime.spawn(async move {
            let answer = match attendant {
                Some(attendant) => attendant.attend(question).await,
                // It has just begun, or is about to end: nobody is connected.
                None => Answer::default(),
            };
            if let Err(error) = peers.tell(&room_id, &Message::Answer(id, answer)).await {
                tracing::debug!(%error, "a peer can't be answered");
            }
            drop(permit);
        });
    }

    /// A room was deleted at another instance.
    pub(in crate::hub) fn ended(&self, instance: &Arc<Instance>, gone: Vec<Arc<Link>>) {
        if let Some(attendant) = self.attendant() {
            let instance = Arc::clone(instance);
            // It ends with the application's own hooks.
            self.runtime.spawn(async move { attendant.ended(instance, gone).await });
        }
    }

    fn announce(&self, room: Box<str>, created: bool) {
        if let Some(attendant) = self.attendant() {
            // It ends with a look at the store.
            self.runtime.spawn(async move { attendant.announce(&room, created).await });
        }
    }

    /// Has those who watch at other instances told of a room.
    pub(crate) fn tell_watchers(self: &Arc<Self>, room_id: &str, created: bool) {
        let message = if created { Message::Created } else { Message::Gone };
        self.tell_if_possible(&ALL.into(), message(room_id.into()));
    }
}

/// Notes a peer that is new, as long as there are few.
fn note_new(peers: &Mutex<HashMap<Id, Instant>>, peer: Id) {
    let mut peers = peers.lock();
    peers.retain(|_, noted| noted.elapsed() < NEW);
    if peers.len() < ANSWERING {
        peers.insert(peer, Instant::now());
    }
}

/// Returns the peers that were noted lately.
fn new(peers: &Mutex<HashMap<Id, Instant>>) -> Vec<Id> {
    let peers = peers.lock();
    peers.iter().filter(|(_, noted)| noted.elapsed() < NEW).map(|(peer, _)| *peer).collect()
}

/// A question is open for as long as somebody waits.
struct Waiting<'a> {
    asked: &'a Asked,
    id: Id,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.asked.waiting.lock().remove(self.id.as_str());
    }
}

impl Default for Asked {
    fn default() -> Self {
        let answering = Arc::new(Semaphore::new(ANSWERING));
        Asked { waiting: Mutex::default(), answering, arrivals: Mutex::default(), speaking: Mutex::default() }
    }
}
