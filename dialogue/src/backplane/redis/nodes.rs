//! Who is there: each node says so again and again, and whoever stops is gone.

use std::{collections::BTreeSet, time::Duration};

use redis::{Value, cmd};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::scripts::SCRIPTS;
use crate::{
    backplane::{FeedMessage, FeedSender},
    redis::{
        Command, Failure, Redis,
        reply::{integer, list, text},
    },
    wire::Id,
};

/// How often a node says that it is there.
const BEAT: Duration = Duration::from_secs(2);
/// For how long that holds.
const LEASE: Duration = Duration::from_secs(8);
/// Rooms that a node which is gone is taken out of at one time.
const ROOMS: usize = 100;

/// What a beat yields.
struct Beat {
    /// Whether the others still took this node for one.
    known: bool,
    there: BTreeSet<Id>,
    gone: BTreeSet<Id>,
}

/// Says that `node` is there, and tells who else is, until nobody hears it.
pub(super) async fn keep(redis: Redis, node: Id, teller: FeedSender) {
    tokio::select! {
        () = beat_on(&redis, node, &teller) => {}
        () = teller.closed() => {}
    }
    // So that the others need not wait until its time is over.
    if beat(&redis, node, Duration::ZERO).await.is_ok() {
        teller.confirm_left();
    }
}

async fn beat_on(redis: &Redis, node: Id, teller: &FeedSender) {
    let mut beats = interval(BEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut told, mut told_at) = (BTreeSet::new(), None::<Instant>);
    let (mut last, mut patient_until) = (None::<Instant>, None::<Instant>);
    loop {
        beats.tick().await;
        let now = Instant::now();
        let Ok(Beat { known, mut there, gone }) = beat(redis, node, LEASE).await else { continue };
        if let Some(last) = last.replace(now) {
            let away = now.elapsed() + now.duration_since(last);
            if !known || away > LEASE - BEAT {
                // Redis was away, or has forgotten everybody: the others will be back like this one.
                patient_until = Some(now + LEASE);
            }
            // Even if it is known: something said long ago may have come late.
            if !known || away >= LEASE {
                teller.send(FeedMessage::Forgotten).await;
            }
        }
        let patient = patient_until.is_some_and(|until| now < until);
        if patient {
            there.extend(&told);
        }
        // Now and then though nothing is new: what was said by a node that is gone may have come late.
        let due = told_at.is_none_or(|told_at| told_at.elapsed() >= LEASE);
        if there != told || due {
            told_at = Some(now);
            told = there;
            teller.send(FeedMessage::Nodes(told.clone())).await;
        }
        // One does it for all.
        if !patient && told.first() == Some(&node) {
            for node in gone {
                if let Err(failure) = bury(redis, node).await {
                    tracing::debug!("a node that is gone can't be taken out of its rooms: {failure}");
                }
            }
        }
    }
}

/// Says once that `node` is there, for as long as `lease`.
async fn beat(redis: &Redis, node: Id, lease: Duration) -> Result<Beat, Failure> {
    let nodes = redis.keys().nodes();
    let mut said = SCRIPTS.beat.call(&[&nodes]);
    said.arg(node.as_str()).arg(u64::try_from(lease.as_millis()).unwrap_or(u64::MAX));
    let answer = redis.call_one(&SCRIPTS.beat, Command::new(nodes, said)).await?;
    let ids = |value: &Value| {
        let ids = list(value).unwrap_or_default().iter();
        ids.filter_map(|id| text(id).and_then(Id::parse)).collect::<BTreeSet<_>>()
    };
    match list(&answer) {
        Some([known, there, gone]) => {
            Ok(Beat { known: integer(known) == Some(1), there: ids(there), gone: ids(gone) })
        }
        _ => Err(Failure::strange("a beat", &answer)),
    }
}

/// Takes a node that is gone out of all its rooms.
async fn bury(redis: &Redis, node: Id) -> Result<(), Failure> {
    let rooms = redis.keys().node(node.as_str(), "rooms");
    loop {
        let mut some = cmd("SRANDMEMBER");
        some.arg(&rooms).arg(ROOMS);
        let some = redis.run_one(Command::new(rooms.clone(), some)).await?;
        let some: Vec<_> = list(&some).unwrap_or_default().iter().filter_map(text).collect();
        if some.is_empty() {
            break;
        }
        let burials: Vec<_> = some
            .iter()
            .map(|room| {
                let members = redis.keys().room(room, "members");
                let mut bury = SCRIPTS.bury.call(&[&members]);
                bury.arg(node.as_str());
                Command::new(members, bury)
            })
            .collect();
        redis.call(&SCRIPTS.bury, burials).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        let mut done = cmd("SREM");
        done.arg(&rooms).arg(&some);
        redis.run_one(Command::new(rooms.clone(), done)).await?;
    }
    let nodes = redis.keys().nodes();
    let mut forget = cmd("ZREM");
    forget.arg(&nodes).arg(node.as_str());
    redis.run_one(Command::new(nodes, forget)).await.map(drop)
}
