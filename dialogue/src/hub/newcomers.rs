//! Instances that clients made lately, counted by user and by address.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;

use super::{Instance, upkeep::moment};
use crate::{Code, Refusal, identity::is_anonymous, observe::RefusalLog};

/// The client on whose behalf an instance is made; the application itself is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Maker {
    pub(crate) user: Arc<str>,
    /// Its address without the part that its owner chooses; `None` where addresses aren't counted.
    pub(crate) address: Option<IpAddr>,
}

/// How many new instances a user and an address may have at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewBounds {
    pub(crate) user: usize,
    pub(crate) address: usize,
}

/// The subject that an instance counts for: its maker's user, or the address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    User(Arc<str>),
    Address(IpAddr),
    /// All those who have neither a token nor an address that is counted: each of them has a new id at will.
    Anyone,
}

/// An instance that a client made.
#[derive(Debug)]
pub(super) struct Made {
    /// Its place in the order in which they were made, from 1.
    number: u64,
    room_id: Arc<str>,
    maker: Maker,
    /// The time from which it is new, in milliseconds of [`moment`].
    at: AtomicU64,
    /// Whether it no longer counts.
    over: AtomicBool,
    instance: OnceLock<Weak<Instance>>,
}

/// The count of new instances. An instance is new for an hour, and for as long as somebody is in it; one that is left
/// without a trace was none.
#[derive(Debug)]
pub(super) struct Newcomers {
    bounds: NewBounds,
    /// Entries beyond are dropped, the oldest first.
    most: usize,
    /// A client that has made more new instances than this makes space among its own.
    share: usize,
    ledger: Mutex<Ledger>,
    refused_users: RefusalLog,
    refused_addresses: RefusalLog,
}

#[derive(Debug, Default)]
struct Ledger {
    /// All entries, in the order in which they are looked at again.
    entries: VecDeque<Arc<Made>>,
    subjects: HashMap<Subject, Own>,
    /// The entry of each room that may make space for its maker.
    rooms: HashMap<Arc<str>, Arc<Made>>,
    /// How many were counted ever.
    number: u64,
    /// How many of the entries no longer count.
    stale: usize,
}

/// The instances that count for a subject.
#[derive(Debug, Default)]
struct Own {
    count: usize,
    /// Those that may make space for others of the subject, in the order of their numbers.
    made: VecDeque<Arc<Made>>,
    /// The number behind which the next look begins; a look that found none moves it on.
    after: u64,
    /// The time at which the store may be asked again which of them may go, in milliseconds of [`moment`].
    next_query_at: u64,
}

/// Rooms that a client made, as candidates to make space for another of its own.
#[derive(Debug)]
pub(super) struct OwnRooms {
    pub(super) subject: Subject,
    /// Their ids, each with its number.
    pub(super) rooms: Vec<(u64, Arc<str>)>,
    /// The number of the last that was looked at, or 0 if all were.
    pub(super) last: u64,
}

/// A bound on new instances that a client has reached.
#[derive(Debug)]
pub(super) struct Exceeded {
    subject: Subject,
    most: usize,
}

/// For how long an instance is new, in milliseconds.
const NEW_MS: u64 = 3_600_000;
/// Under so many, entries that no longer count aren't worth a pass.
const MOST_STALE: usize = 64;
/// Of a client's instances, those that are looked at for some that nobody is in.
const OWN_LOOKS: usize = 1_024;
/// From a query of the store that found none that may go to the next, in milliseconds.
const QUERY_EVERY_MS: u64 = 1_000;
/// A client's share of all instances, as a fraction; and what it is at least.
const SHARE: usize = 16;

impl Maker {
    fn subjects(&self) -> impl Iterator<Item = Subject> {
        let from = match self.address {
            Some(address) => Some(Subject::Address(address)),
            None => is_anonymous(&self.user).then_some(Subject::Anyone),
        };
        [Some(Subject::User(Arc::clone(&self.user))), from].into_iter().flatten()
    }

    fn is(&self, subject: &Subject) -> bool {
        match subject {
            Subject::User(user) => self.user == *user,
            Subject::Address(address) => self.address == Some(*address),
            Subject::Anyone => self.address.is_none() && is_anonymous(&self.user),
        }
    }
}

impl Made {
    pub(super) fn is_of(&self, subject: &Subject) -> bool {
        self.maker.is(subject)
    }

    /// Sets the instance that it is, once that is there.
    pub(super) fn is_instance(&self, instance: &Arc<Instance>) {
        let _ = self.instance.set(Arc::downgrade(instance));
    }

    fn is_used(&self) -> bool {
        self.instance.get().and_then(Weak::upgrade).is_some_and(|instance| instance.total() > 0)
    }
}

impl Newcomers {
    /// The count of a server that has at most `most` instances.
    pub(super) fn new(bounds: NewBounds, most: usize) -> Self {
        let share = (most / SHARE).max(SHARE);
        Newcomers {
            bounds,
            most: most.saturating_mul(2).max(SHARE),
            share,
            ledger: Mutex::default(),
            refused_users: RefusalLog::default(),
            refused_addresses: RefusalLog::default(),
        }
    }

    /// Counts an instance that is about to be made.
    ///
    /// # Errors
    ///
    /// Its maker has as many new ones as may be.
    pub(super) fn admit(&self, maker: &Maker, room_id: &Arc<str>) -> Result<Arc<Made>, Exceeded> {
        let mut ledger = self.ledger.lock();
        ledger.expire(self.most);
        for subject in maker.subjects() {
            let most = match subject {
                Subject::User(_) => self.bounds.user,
                Subject::Address(_) => self.bounds.address,
                // They only make space among their own.
                Subject::Anyone => continue,
            };
            if ledger.count(&subject) >= most {
                return Err(Exceeded { subject, most });
            }
        }
        ledger.number += 1;
        let made = Arc::new(Made {
            number: ledger.number,
            room_id: Arc::clone(room_id),
            maker: maker.clone(),
            at: AtomicU64::new(moment()),
            over: AtomicBool::new(false),
            instance: OnceLock::new(),
        });
        for subject in maker.subjects() {
            let own = ledger.subjects.entry(subject).or_default();
            own.count += 1;
            own.made.push_back(Arc::clone(&made));
        }
        // It is new, so that the one of that name is no more.
        if let Some(before) = ledger.rooms.insert(Arc::clone(room_id), Arc::clone(&made)) {
            ledger.withdraw(&before);
        }
        ledger.entries.push_back(Arc::clone(&made));
        Ok(made)
    }

    /// The refusal of a client that has reached a bound. It is logged, so no lock may be held; with a bound of 0 it is what
    /// the application wants.
    pub(super) fn refuse(&self, Exceeded { subject, most }: Exceeded) -> Refusal {
        let log = most > 0;
        let whose = match &subject {
            Subject::User(user) => {
                if log {
                    self.refused_users
                        .user(user, "it has made as many new rooms as it may (`max_new_rooms_per_user`)");
                }
                "a user"
            }
            Subject::Address(address) => {
                if log {
                    let reason = "it has made as many new rooms as it may (`max_new_rooms_per_address`)";
                    self.refused_addresses.address(*address, reason);
                }
                "an address"
            }
            Subject::Anyone => "a client",
        };
        let message = format!("{whose} makes at most {most} new rooms an hour, with those that are in use");
        Refusal::new(Code::TooMany, message)
    }

    /// Counts an instance no longer that came to nothing, or left no trace.
    pub(super) fn release(&self, made: &Made) {
        let mut ledger = self.ledger.lock();
        if ledger.end(made) {
            ledger.stale += 1;
            if ledger.stale > MOST_STALE.max(ledger.entries.len() / 2) {
                ledger.stale = 0;
                ledger.entries.retain(|made| !made.over.load(Ordering::Relaxed));
            }
        }
    }

    /// The subject as which a client has made more than its share: others' rooms don't go for its sake.
    pub(super) fn over_share(&self, maker: &Maker) -> Option<Subject> {
        let ledger = self.ledger.lock();
        maker.subjects().find(|subject| ledger.count(subject) > self.share)
    }

    /// Some of the rooms that a client made and that nobody seems to be in, in the order in which they were made. At
    /// most [`OWN_LOOKS`] are looked at, from where the last look that found none ended.
    pub(super) fn made_by(&self, subject: Subject) -> OwnRooms {
        let ledger = self.ledger.lock();
        let (mut rooms, mut last) = (Vec::new(), 0);
        if let Some(own) = ledger.subjects.get(&subject) {
            let next = own.made.partition_point(|made| made.number <= own.after);
            for made in own.made.range(next..).chain(own.made.range(..next)).take(OWN_LOOKS) {
                last = made.number;
                if !made.is_used() {
                    rooms.push((made.number, Arc::clone(&made.room_id)));
                }
            }
            if own.made.len() <= OWN_LOOKS {
                last = 0;
            }
        }
        OwnRooms { subject, rooms, last }
    }

    /// Has the next look at a client's rooms begin behind the one with the number `last`: none up to there could go.
    pub(super) fn note_fruitless_look(&self, subject: &Subject, last: u64) {
        if let Some(own) = self.ledger.lock().subjects.get_mut(subject) {
            own.after = last;
        }
    }

    /// Has the next look at a client's rooms begin with the first: one went.
    pub(super) fn note_fruitful_look(&self, subject: &Subject) {
        self.note_fruitless_look(subject, 0);
    }

    /// Has a room no longer make space for its maker: it is gone, or stays.
    pub(super) fn withdraw(&self, room_id: &str) {
        let mut ledger = self.ledger.lock();
        if let Some(made) = ledger.rooms.remove(room_id) {
            ledger.withdraw(&made);
        }
    }

    /// Has an instance no longer make space for its maker: it is gone, and its room with it.
    pub(super) fn gone(&self, made: &Made) {
        self.ledger.lock().gone(made);
    }

    /// Returns whether the store is to be asked which of a client's rooms may go.
    pub(super) fn may_ask(&self, subject: &Subject) -> bool {
        self.ledger.lock().subjects.get(subject).is_none_or(|own| own.next_query_at <= moment())
    }

    /// Notes that none of a client's rooms that the store was asked for may go; the last of them has the number `last`.
    pub(super) fn note_fruitless_query(&self, subject: &Subject, last: u64) {
        if let Some(own) = self.ledger.lock().subjects.get_mut(subject) {
            (own.after, own.next_query_at) = (last, moment() + QUERY_EVERY_MS);
        }
    }
}

impl Ledger {
    fn count(&self, subject: &Subject) -> usize {
        self.subjects.get(subject).map_or(0, |own| own.count)
    }

    /// Takes out what no longer is new, and what is too much.
    fn expire(&mut self, most: usize) {
        let now = moment();
        // Of those that are in use, each comes by once.
        for _ in 0..self.entries.len() {
            let Some(first) = self.entries.front() else { return };
            let is_over = first.over.load(Ordering::Relaxed);
            let is_new = first.at.load(Ordering::Relaxed).saturating_add(NEW_MS) > now;
            if is_new && !is_over && self.entries.len() <= most {
                return;
            }
            let Some(first) = self.entries.pop_front() else { return };
            if is_over {
                self.stale = self.stale.saturating_sub(1);
            } else if !is_new && first.is_used() {
                first.at.store(now, Ordering::Relaxed);
                self.entries.push_back(first);
            } else {
                self.end(&first);
            }
        }
    }

    /// Ends the count of an instance; returns whether it still counted.
    fn end(&mut self, made: &Made) -> bool {
        if made.over.swap(true, Ordering::Relaxed) {
            return false;
        }
        self.gone(made);
        for subject in made.maker.subjects() {
            if let Some(own) = self.subjects.get_mut(&subject) {
                own.count = own.count.saturating_sub(1);
                if own.count == 0 {
                    self.subjects.remove(&subject);
                }
            }
        }
        true
    }

    /// Takes out an instance that is gone; another may be in its place.
    fn gone(&mut self, made: &Made) {
        if self.rooms.get(&made.room_id).is_some_and(|other| other.number == made.number) {
            self.rooms.remove(&made.room_id);
        }
        self.withdraw(made);
    }

    /// Has an instance no longer make space for its maker.
    fn withdraw(&mut self, made: &Made) {
        for subject in made.maker.subjects() {
            if let Some(own) = self.subjects.get_mut(&subject)
                && let Ok(place) = own.made.binary_search_by_key(&made.number, |made| made.number)
            {
                own.made.remove(place);
            }
        }
    }
}

impl Default for NewBounds {
    fn default() -> Self {
        NewBounds { user: 1_000, address: 10_000 }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn maker(user: &str, address: &str) -> Maker {
        Maker { user: user.into(), address: address.parse().ok() }
    }

    fn newcomers() -> Newcomers {
        Newcomers::new(NewBounds { user: 3, address: 5 }, 1_000)
    }

    fn admit(newcomers: &Newcomers, user: &str, address: &str) -> Result<Arc<Made>, Code> {
        let made = newcomers.admit(&maker(user, address), &"project:1".into());
        made.map_err(|exceeded| newcomers.refuse(exceeded).code)
    }

    #[tokio::test(start_paused = true)]
    async fn a_user_and_an_address_make_so_many_an_hour() {
        let newcomers = newcomers();
        assert!((0..3).all(|_| admit(&newcomers, "a", "203.0.113.7").is_ok()));
        assert_eq!(admit(&newcomers, "a", "203.0.113.8").err(), Some(Code::TooMany));
        assert!((0..2).all(|_| admit(&newcomers, "b", "203.0.113.7").is_ok()));
        assert_eq!(admit(&newcomers, "c", "203.0.113.7").err(), Some(Code::TooMany));
        assert!(admit(&newcomers, "c", "203.0.113.8").is_ok());
        tokio::time::advance(Duration::from_secs(3_601)).await;
        assert!(admit(&newcomers, "a", "203.0.113.7").is_ok());
        let counts = newcomers.ledger.lock().subjects.values().map(|own| own.count).sum::<usize>();
        assert_eq!(counts, 2);
    }

    #[test]
    fn those_who_have_a_new_id_each_time_make_space_among_their_own() {
        let newcomers = newcomers();
        for n in 0..100 {
            admit(&newcomers, &format!("anon-{n}"), "nowhere").unwrap();
        }
        assert_eq!(newcomers.over_share(&maker("anon-another", "nowhere")), Some(Subject::Anyone));
        assert_eq!(newcomers.over_share(&maker("alice", "nowhere")), None);
        assert_eq!(newcomers.over_share(&maker("anon-another", "203.0.113.7")), None);
    }

    #[test]
    fn what_left_no_trace_does_not_count() {
        let newcomers = newcomers();
        for _ in 0..1_000 {
            let made = admit(&newcomers, "a", "203.0.113.7").unwrap();
            newcomers.release(&made);
            newcomers.release(&made);
        }
        let ledger = newcomers.ledger.lock();
        assert!(
            ledger.subjects.is_empty() && ledger.rooms.is_empty() && ledger.entries.len() <= 2 * MOST_STALE,
            "{}",
            ledger.entries.len()
        );
    }
}
