//! Members of a room whose log was lost: they go on in the instance that takes its place, without a new connection.
//!
//! A member's [`Link`] marks it as on the way, from the moment at which its instance gives way until it is let into the
//! next. The mark is cleared by one caller: by the instance that lets the member in, in its turn, or by what takes the
//! member out.

use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::time::sleep;

use super::{Instance, Join, Link, NotJoined, Registry, state::DELETED};
use crate::{
    Position,
    wire::{EventSet, frame},
};

/// The members of a lost instance.
pub(super) struct Move {
    pub(super) members: Vec<Moving>,
    /// In a room that declares presence, the users that its members take for present.
    pub(super) shown: Option<Arc<BTreeSet<Arc<str>>>>,
}

/// A member on the way from one instance to the next.
pub(super) struct Moving {
    pub(super) link: Arc<Link>,
    pub(super) slot: u8,
    pub(super) wanted: EventSet,
    /// The last event that was delivered to it. The new log decides whether the member lost anything.
    pub(super) since: Position,
}

/// Members that aren't in yet, and the instance that each is to come from.
type Remaining = Vec<(Moving, Arc<Instance>)>;

/// The outcome of a member's move.
enum Moved {
    In,
    /// It was taken out on the way.
    Out,
    /// The instance can't take it now.
    Later,
}

/// Between two tries: something between this and twice that.
const PAUSE: Duration = Duration::from_millis(250);

impl Instance {
    /// Lets members of this instance, which is over, into the one in its place. Each is sent `joined` unasked, which
    /// says what the new log is and whether the member lost anything; its other rooms notice nothing.
    pub(super) fn move_on(self: &Arc<Self>, moving: Move) {
        if !moving.members.is_empty() {
            // It ends once all are in or have left, or with the registry.
            self.spawn(run(Arc::clone(self), Weak::clone(&self.registry), moving));
        }
    }
}

impl Link {
    /// Takes the connection out of the room that `instance` is one of, also while its members move; returns the
    /// instance that it was in, or was to come from. With a reason, the client is sent `left`.
    pub(crate) async fn take_out(
        self: &Arc<Self>,
        instance: &Arc<Instance>,
        reason: Option<&str>,
    ) -> Option<Arc<Instance>> {
        let mut instance = Arc::clone(instance);
        loop {
            let (link, said) = (Arc::clone(self), reason.map(str::to_owned));
            let out = instance.run(move |state| match said {
                Some(reason) => state.remove(&link, &reason),
                None => state.let_go(&link),
            });
            if out.await == Some(true) {
                return Some(instance);
            }
            // One that gave way is retired, and lets no member in any more.
            if instance.is_retired() && instance.end_move(self) {
                if let Some(reason) = reason {
                    send_left(self, &instance.id, reason);
                }
                return Some(instance);
            }
            // The connection may have moved on meanwhile.
            instance = self.room(&instance.id).filter(|now| !Arc::ptr_eq(now, &instance))?;
        }
    }
}

async fn run(lost: Arc<Instance>, registry: Weak<Registry>, Move { members, shown }: Move) {
    let mut remaining: Remaining = members.into_iter().map(|moving| (moving, Arc::clone(&lost))).collect();
    loop {
        let Some(registry) = registry.upgrade() else { return };
        // Only a keyed room can be deleted.
        let deleted = if lost.room.keyed { registry.is_deleted(&lost.id).await } else { Ok(false) };
        match deleted {
            Ok(true) => return end(&registry, remaining).await,
            // An instance that can't be made or opened now is tried again.
            Ok(false) => {
                let next = registry.enter(&lost.room, &lost.id, None);
                if let Ok(next) = next {
                    remaining = move_into(&next, remaining, shown.as_ref()).await;
                    if next.is_deleted() {
                        return end(&registry, remaining).await;
                    }
                }
            }
            Err(_) => {}
        }
        drop(registry);
        if remaining.is_empty() {
            return;
        }
        sleep(PAUSE.mul_f64(1.0 + fastrand::f64())).await;
    }
}

/// Lets members into `next`; returns those who are to be let in later.
async fn move_into(
    next: &Arc<Instance>,
    remaining: Remaining,
    shown: Option<&Arc<BTreeSet<Arc<str>>>>,
) -> Remaining {
    let mut coming = Vec::with_capacity(remaining.len());
    for (moving, from) in remaining {
        if moving.link.move_on(&from, next) {
            coming.push(moving);
        } else {
            // Its connection may be closed, and its session have found no instance to take it out of.
            from.end_move(&moving.link);
            let user = Arc::clone(&moving.link.user_id);
            next.cast(move |state| state.never_came(&user));
        }
    }
    let later = |moving: Vec<Moving>| moving.into_iter().map(|moving| (moving, Arc::clone(next))).collect();
    let links = coming.iter().map(|moving| Arc::clone(&moving.link)).collect();
    let shown = shown.cloned();
    // Also where none is left: those at other nodes are to be sent who went.
    if next.run(move |state| state.expect(links, shown.as_deref())).await != Some(true) {
        return later(coming);
    }
    let mut remaining = Vec::new();
    for moving in coming {
        match moving.enter(next).await {
            // It was counted in the lost instance, too.
            Moved::In => next.went(&moving.link),
            Moved::Out => {}
            Moved::Later => remaining.push(moving),
        }
    }
    next.cast(|state| state.expect_no_more());
    later(remaining)
}

/// Ends the move of members whose room was deleted.
async fn end(registry: &Registry, remaining: Remaining) {
    for (Moving { link, .. }, from) in remaining {
        if from.end_move(&link) {
            send_left(&link, &from.id, DELETED);
            registry.removed_by_deletion(link, from).await;
        }
    }
}

/// Sends to a client that the server took it out of a room.
pub(super) fn send_left(link: &Link, room_id: &str, reason: &str) {
    let left = frame::Left { room_id, reason: Some(reason) };
    link.outbox.send("left", &frame::Frame::new("left", None, left).encode());
}

impl Moving {
    async fn enter(&self, next: &Arc<Instance>) -> Moved {
        let mut join = Join {
            link: Arc::clone(&self.link),
            slot: self.slot,
            wanted: Some(self.wanted),
            since: Some(self.since.clone()),
            seen: None,
            // It was opened just now.
            looked: true,
            moved: true,
            id: None,
        };
        let mut joined = next.let_in(join.clone()).await;
        if let Some(Err(NotJoined::AskStore(epoch))) = &joined {
            let Ok(seen) = next.event_at(epoch, join.since.as_ref()).await else { return Moved::Later };
            join.seen = Some(seen);
            joined = next.let_in(join).await;
        }
        match joined {
            Some(Ok(_)) => Moved::In,
            _ if self.link.is_moving(&next.id) => Moved::Later,
            _ => Moved::Out,
        }
    }
}

#[cfg(test)]
impl Instance {
    /// Has the room lose its log; returns what lets its members move on.
    pub(crate) async fn lose_log(self: &Arc<Self>) -> impl FnOnce() + use<> {
        let moving = self.run(|state| state.give_way()).await.expect("it isn't retired");
        self.retire();
        let lost = Arc::clone(self);
        move || lost.move_on(moving)
    }
}
