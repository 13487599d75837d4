//! Rooms shared over Redis: one script puts events into a room's stream and tells them in the room's channel.
//!
//! | key | |
//! |---|---|
//! | `PREFIX:{room/ID}:feed` | the room's channel; sharded, so that in a Cluster it is with the room's stream |
//! | `PREFIX:{room/ID}:members` | a hash: who is in, by peer and user |
//! | `PREFIX:{peers}:leases` | a sorted set: until when a peer is one |
//! | `PREFIX:{peer/ID}:rooms` | a set: rooms that the peer is to be taken out of when it is gone |

mod message;
mod peers;
mod scripts;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use redis::{Value, cmd};
use tokio::{sync::Notify, time::timeout};

use super::{Backplane, Draft, Feed, Kept, Member, Roll, Share, Shared, Told};
use crate::{
    Position,
    redis::{
        Command, Heard, Keys, Redis, Subscriber,
        reply::{integer, list, text},
    },
    store::{
        StoreError, StoredEvent, StoredKey,
        redis::{Entry, Epoch, KEYS, epoch_text, failed, garbled, key, read_key, strange},
    },
    wire::Id,
};
use scripts::SCRIPTS;

/// How long it may take until the first channel is listened to.
const WITHIN: Duration = Duration::from_secs(5);

impl Backplane for Redis {
    async fn join(&self, peer: Id) -> Result<Feed, StoreError> {
        let (listening, channels) = (Arc::new(Notify::new()), Channels::new(self.keys().clone(), peer));
        let subscriber = Arc::new(std::sync::OnceLock::<Subscriber>::new());
        let follows = Arc::clone(&subscriber);
        let keys = self.keys().clone();
        let (feed, teller) = Feed::new(move |room_id, follow| {
            let Some(subscriber) = follows.get() else { return };
            let channel = keys.room(&room_id, "feed").into();
            if follow { subscriber.listen(channel) } else { subscriber.leave(&channel) }
        });
        let (hears, begins) = (teller.clone(), Arc::clone(&listening));
        let sink = move |said| match channels.hear(said) {
            Said::Own => begins.notify_one(),
            Said::Told(told) => hears.tell(told),
            Said::Nothing => {}
        };
        let subscriber = subscriber.get_or_init(|| Subscriber::new(self.clone(), Arc::new(sink)));
        subscriber.listen(self.keys().peer(peer.as_str(), "feed").into());
        if timeout(WITHIN, listening.notified()).await.is_err() {
            let why = subscriber.trouble().or_else(|| self.trouble());
            let why = why.unwrap_or_else(|| "Redis does not answer".to_owned());
            return Err(StoreError::new(format!("can't listen to channels in Redis: {why}")));
        }
        tokio::spawn(peers::keep(self.clone(), peer, teller));
        Ok(feed)
    }

    async fn share(&self, peer: Id, shares: Vec<Share>) -> Vec<Result<Shared, StoreError>> {
        let commands: Vec<_> = shares.iter().map(|share| self.share_one(peer, share)).collect();
        let answers = self.write(&SCRIPTS.share, &commands).await;
        let outcomes = shares.into_iter().zip(answers).map(|(share, answer)| match answer {
            Ok(Value::Int(0)) if !is_told_only(&share) => {
                let message = format!("the log of `{}` in Redis is another", share.room_id);
                Err(StoreError::conflict(message))
            }
            Ok(_) if is_told_only(&share) => Ok(told(share)),
            Ok(answer) => shared(share, answer),
            Err(failure) => Err(failed("put events into a room", failure)),
        });
        outcomes.collect()
    }

    async fn tell(&self, peer: Id, room_id: &str, message: Bytes) -> Result<(), StoreError> {
        let channel = self.keys().room(room_id, "feed");
        let mut publish = cmd("SPUBLISH");
        publish.arg(&channel).arg(&*message::message(peer, &message));
        let told = self.run_one(Command::new(channel, publish)).await;
        told.map(drop).map_err(|failure| failed("tell peers", failure))
    }

    async fn heads(&self, room_ids: &[Arc<str>]) -> Result<Vec<Option<Position>>, StoreError> {
        let commands: Vec<_> = room_ids
            .iter()
            .map(|room_id| {
                let log = self.keys().room(room_id, "log");
                let mut newest = cmd("XREVRANGE");
                newest.arg(&log).arg("+").arg("-").arg("COUNT").arg(1);
                Command::new(log, newest)
            })
            .collect();
        let mut heads = Vec::with_capacity(room_ids.len());
        for answer in self.run(&commands).await {
            let answer = answer.map_err(|failure| failed("read the heads of logs", failure))?;
            let head = match list(&answer) {
                Some([newest, ..]) => {
                    let entry = Entry::read(newest).ok_or_else(|| strange("the head of a log", &answer))?;
                    let event = StoredEvent::decode(entry.data).map_err(garbled)?;
                    Some(Position {
                        epoch: entry.epoch.to_string(),
                        seq: entry.seq,
                        event_id: event.event_id.to_string(),
                    })
                }
                _ => None,
            };
            heads.push(head);
        }
        Ok(heads)
    }

    async fn call_roll(&self, peer: Id, roll: Roll) -> Result<bool, StoreError> {
        let Roll { room_id, changes, anybody, most } = roll;
        let (members, rooms) =
            (self.keys().room(&room_id, "members"), self.keys().peer(peer.as_str(), "rooms"));
        let note = |name: &str| {
            let mut note = cmd(name);
            note.arg(&rooms).arg(&*room_id);
            Command::new(rooms.clone(), note)
        };
        let failed = |failure| failed("say who is in a room", failure);
        // Before anybody is in: a peer that goes at once is to be taken out all the same.
        if anybody {
            self.run_one(note("SADD")).await.map_err(failed)?;
        }
        let mut call = SCRIPTS.members.call(&[&members]);
        call.arg(self.keys().room(&room_id, "feed")).arg(peer.as_str());
        call.arg(most.map_or_else(String::new, |most| most.to_string()));
        call.arg(&*message::roll(peer, &changes));
        for change in &changes {
            call.arg(&*change.user_id).arg(change.connections);
        }
        let called = self.write(&SCRIPTS.members, &[Command::new(members, call)]).await;
        let called = called.into_iter().next().unwrap_or(Ok(Value::Nil)).map_err(failed)?;
        if !anybody {
            self.run_one(note("SREM")).await.map_err(failed)?;
        }
        Ok(integer(&called) == Some(1))
    }

    async fn members(&self, room_id: &str) -> Result<Vec<Member>, StoreError> {
        let members = self.keys().room(room_id, "members");
        let mut all = cmd("HGETALL");
        all.arg(&members);
        let all = self.run_one(Command::new(members, all)).await;
        match all.map_err(|failure| failed("read who is in a room", failure))? {
            Value::Map(fields) => Ok(fields.iter().filter_map(|(who, many)| member(who, many)).collect()),
            other => Err(strange("HGETALL", &other)),
        }
    }
}

impl Redis {
    fn share_one(&self, peer: Id, share: &Share) -> Command {
        let Share { room_id, epoch, after, after_id, drafts, exact } = share;
        let channel = self.keys().room(room_id, "feed");
        if is_told_only(share) {
            let mut publish = cmd("SPUBLISH");
            publish.arg(&channel).arg(&*message::events(peer, epoch, *after, drafts));
            return Command::new(channel, publish);
        }
        let log = self.keys().room(room_id, "log");
        let (names, order) = (self.keys().room(room_id, "keys"), self.keys().room(room_id, "order"));
        // While a slot moves, a Cluster refuses what names keys of which some are not there.
        let mut call = match drafts.iter().any(|draft| draft.event.key.is_some()) {
            true => SCRIPTS.share.call(&[&log, &names, &order]),
            false => SCRIPTS.share.call(&[&log]),
        };
        let (Epoch(number), beside) = Epoch::of(epoch);
        call.arg(number).arg(beside).arg(*after).arg(after_id.as_ref().map_or("", Id::as_str));
        call.arg(if *exact { "1" } else { "" }).arg(channel).arg(peer.as_str()).arg(KEYS);
        for Draft { event, size } in drafts {
            let field = StoredKey::of(event).map_or_else(String::new, |stored| key(&stored).0);
            call.arg(&*event.encode()).arg(*size).arg(field);
        }
        Command::new(log, call)
    }
}

/// What is said in a channel.
enum Said {
    /// This peer's own channel is listened to.
    Own,
    Told(Told),
    Nothing,
}

/// What channels are called.
struct Channels {
    own: String,
    /// What the name of a room's channel begins and ends with.
    begin: String,
    end: String,
}

impl Channels {
    fn new(keys: Keys, peer: Id) -> Self {
        let channel = keys.room("\n", "feed");
        let (begin, end) = channel.split_once('\n').unwrap_or_default();
        Channels { own: keys.peer(peer.as_str(), "feed"), begin: begin.to_owned(), end: end.to_owned() }
    }

    fn hear(&self, heard: Heard) -> Said {
        let room = |channel: &str| {
            let room_id = channel.strip_prefix(&self.begin)?.strip_suffix(&self.end)?;
            Some(Arc::<str>::from(room_id))
        };
        match heard {
            Heard::Listening(channel) if channel == self.own => Said::Own,
            Heard::Listening(channel) => {
                room(&channel).map_or(Said::Nothing, |room| Said::Told(Told::Gap(room)))
            }
            Heard::Message(channel, said) => {
                // A newer version may say what this one doesn't understand; what matters is in the log.
                let told = room(&channel)
                    .map(|room| message::read(Arc::clone(&room), said).unwrap_or(Told::Gap(room)));
                told.map_or(Said::Nothing, Said::Told)
            }
        }
    }
}

/// Whether nothing of it is kept.
fn is_told_only(share: &Share) -> bool {
    share.drafts.iter().all(|draft| draft.event.seq == 0 && draft.event.key.is_none())
}

fn told(share: Share) -> Shared {
    let kept = share.drafts.into_iter().map(|draft| Kept::Event(draft.event)).collect();
    Shared { epoch: share.epoch, missed: Vec::new(), before: share.after, kept }
}

/// What a script says of a share, which it may have numbered anew.
fn shared(share: Share, answer: Value) -> Result<Shared, StoreError> {
    let unknown = || strange("a share", &Value::Nil);
    let Value::Array(parts) = answer else { return Err(strange("a share", &answer)) };
    let mut parts = parts.into_iter();
    let mut part = || parts.next().unwrap_or_default();
    let (number, beside) = (part(), part());
    let mut numbers = [part(), part(), part()].into_iter().map(|part| text(&part)?.parse::<u64>().ok());
    let mut number_of = || numbers.next().flatten().ok_or_else(unknown);
    let (before, mut time, mut end) = (number_of()?, number_of()?, number_of()?);
    let epoch = match text(&beside).ok_or_else(unknown)? {
        "" => epoch_text(text(&number).and_then(|number| number.parse().ok()).ok_or_else(unknown)?),
        beside => beside.into(),
    };
    let Value::Array(missed) = part() else { return Err(unknown()) };
    let missed =
        missed.into_iter().map(crate::store::redis::event).collect::<Result<_, _>>().map_err(garbled)?;
    let Value::Array(results) = part() else { return Ok(Shared { epoch, missed, before, kept: Vec::new() }) };
    let (mut seq, mut kept) = (before, Vec::with_capacity(results.len()));
    for (Draft { mut event, size }, seen) in share.drafts.into_iter().zip(&results) {
        match text(seen) {
            Some("") => {
                if event.seq > 0 {
                    seq += 1;
                    time = time.max(event.timestamp);
                    if !share.exact {
                        (event.seq, event.timestamp, event.offset) = (seq, time, end);
                    }
                    end += u64::from(size);
                }
                kept.push(Kept::Event(event));
            }
            _ => {
                let field = StoredKey::of(&event).map(|own| key(&own).0).unwrap_or_default();
                let field = Value::BulkString(field.into_bytes());
                kept.push(Kept::Seen(read_key(&field, seen).ok_or_else(unknown)?));
            }
        }
    }
    Ok(Shared { epoch, missed, before, kept })
}

fn member(who: &Value, many: &Value) -> Option<Member> {
    // The sum of all has no name.
    let (peer, user) = text(who)?.split_at_checked(11)?;
    let connections = u32::try_from(integer(many)?).ok()?;
    Some(Member { peer: Id::parse(peer)?, user_id: user.into(), connections })
}
