//! The commands that change a room in memory alone: members and their subscriptions, replays, migrations, timers.

use std::{collections::BTreeSet, sync::Arc};

use super::Reply;
use crate::{
    cluster::{PlaceReservation, RosterChange},
    live::{
        ConnectionHandle, ConnectionId, Listener,
        room::{
            ArchivedPage, JoinRequest, JoinStep, PublishRequest, ResumeEvidence, RoomTimer,
            SubscriptionChange, TargetedEvent, TrimPlan,
        },
    },
    wire::{EventSet, Id},
};

/// A change of a room in memory.
#[derive(Debug)]
pub(crate) enum RoomChange {
    /// Nothing. The reply tells that all earlier commands have run.
    Barrier(Reply<()>),
    /// Nothing. The driver looks whether the instance is to be closed.
    Wake,
    /// Join a connection. The reply has the outcome, and the reserved place if another attempt follows.
    Join {
        request: Arc<JoinRequest>,
        evidence: ResumeEvidence,
        place: Option<PlaceReservation>,
        reply: Reply<(JoinStep, Option<PlaceReservation>)>,
    },
    /// Remove the subscription of a listener.
    Unlisten(ConnectionId),
    /// Remove a connection, or end its migration into this instance; with a reason, it is sent `left`. The reply is
    /// whether it was a member or migrating.
    Remove { handle: Arc<ConnectionHandle>, reason: Option<String>, reply: Reply<bool> },
    /// Remove a closed connection, or end its migration into this instance.
    Release(Arc<ConnectionHandle>),
    /// Refuse the events that a connection sent before the server removed it.
    RefuseEventsFrom(ConnectionId),
    /// Subscribe a listener of server code.
    Listen(Arc<Listener>, EventSet),
    /// Change the events that a member receives; the reply is whether the connection is a member.
    Subscribe(ConnectionId, SubscriptionChange, Reply<bool>),
    /// Deliver an event to some members only. The reply has their number, and the other nodes at which the user is.
    DeliverTargeted {
        publish: Box<PublishRequest>,
        targeted: TargetedEvent,
        user: Arc<str>,
        reply: Reply<(usize, BTreeSet<Id>)>,
    },
    /// Send the next page of a replay.
    ReplayPage(ConnectionId),
    /// Send a page of a replay that was read from the store, or end the replay if it can't be read.
    PageFetched { connection: ConnectionId, after: u64, page: Result<Option<Arc<ArchivedPage>>, Unreadable> },
    /// Run a timer that the room has started.
    Timer(RoomTimer),
    /// Change the roster of members at other nodes.
    Roster(RosterChange),
    /// Expect members of a superseded instance, which showed these users as present. The reply is whether they may
    /// enter.
    ExpectMigrating {
        handles: Vec<Arc<ConnectionHandle>>,
        shown: Option<Arc<BTreeSet<Arc<str>>>>,
        reply: Reply<bool>,
    },
    /// End the migration of a user's connection that won't complete.
    CancelMigration(Arc<str>),
    /// Forget the members whose migration has ended.
    PruneMigrating,
    /// Plan a trim of the store's part of the log.
    PlanTrim(Reply<TrimPlan>),
    /// The store's part of the log was trimmed up to this `seq`.
    Trimmed(u64),
}

/// The store failed to return a page.
#[derive(Debug)]
pub(crate) struct Unreadable;
