//! Members of a superseded instance that migrate into the next one.

use std::collections::BTreeSet;

use super::*;
use crate::{Code, live::room::Migration};

const GRACE: Duration = Duration::from_secs(1);

/// A room whose log was lost while its members were in it.
struct MigratedRoom {
    _registry: Arc<Registry>,
    lost: Arc<LiveRoom>,
    next: Arc<LiveRoom>,
    /// The users that the members take for present.
    shown: Option<Arc<BTreeSet<Arc<str>>>>,
}

impl MigratedRoom {
    async fn of(members: &[&Client], options: RoomOptions) -> Self {
        let registry = registry(vec![room("chat", false, options)]);
        let enter = || {
            let room = registry.declared("chat").expect("declared").0;
            registry.find_or_open(room, "chat", None).expect("it is made")
        };
        for member in members {
            let _ = member.handle.enter(&enter());
            member.join(&registry, "chat", None).await;
        }
        let lost = enter();
        // Until all joins are announced.
        tokio::time::sleep(GRACE).await;
        let Migration { shown, .. } = lost.run(|core| core.supersede()).await.expect("it isn't retired");
        lost.close();
        let next = enter();
        MigratedRoom { _registry: registry, lost, next, shown }
    }

    fn begin_migration(&self, members: &[&Client]) {
        for member in members {
            assert!(member.handle.retarget_migration(&*self.lost, &self.next));
        }
    }

    /// Notes that the members are about to enter.
    async fn expect(&self, members: &[&Client]) {
        let handles = members.iter().map(|member| Arc::clone(&member.handle)).collect();
        let shown = self.shown.clone();
        let may_come = self.next.run(move |core| core.expect_migrating(handles, shown.as_deref())).await;
        assert_eq!(may_come, Some(true));
    }

    async fn admit(&self, member: &Client) {
        let join = JoinRequest { is_migrating: true, ..member.joining(None) };
        assert!(matches!(self.next.join(&Arc::new(join)).await, Ok(true)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_that_is_removed_before_its_migration_is_noted_is_announced_as_left() {
    let (ann, mallory) = (Client::new(1), Client::new(2));
    let migrated = MigratedRoom::of(&[&ann, &mallory], RoomOptions::new().presence(GRACE)).await;
    migrated.begin_migration(&[&ann, &mallory]);
    let was_in = mallory.handle.remove_from(&migrated.next, Some("enough")).await;
    assert!(was_in.is_some_and(|was_in| Arc::ptr_eq(&was_in, &migrated.next)));
    migrated.expect(&[&ann, &mallory]).await;
    migrated.admit(&ann).await;
    migrated.next.run(|core| core.prune_migrating()).await.expect("it is there");
    tokio::time::sleep(10 * GRACE).await;
    let sent = ann.seen(|_| true).await;
    let left: Vec<_> = sent.iter().filter(|frame| frame["change"] == "left").collect();
    assert_eq!(left.len(), 1, "{sent:?}");
    assert_eq!((&left[0]["userId"], &left[0]["size"]), (&"user2".into(), &1.into()));
    let connection = ann.handle.id();
    migrated.next.run(move |core| core.leave(connection)).await.expect("it is there");
    tokio::time::sleep(10 * GRACE).await;
    assert_eq!(migrated.next.run(|core| core.is_idle()).await, Some(true));
}

#[tokio::test(start_paused = true)]
async fn a_join_of_a_migrating_member_leaves_it_migrating() {
    let ann = Client::new(1);
    let migrated = MigratedRoom::of(&[&ann], RoomOptions::new()).await;
    assert_eq!(ann.handle.enter(&migrated.next), None);
    migrated.begin_migration(&[&ann]);
    assert_eq!(ann.handle.enter(&migrated.next), None);
    migrated.expect(&[&ann]).await;
    migrated.admit(&ann).await;
    assert_eq!(ann.handle.enter(&migrated.next), Some(false));
}

#[tokio::test(start_paused = true)]
async fn migrating_members_keep_their_places() {
    let (ann, ben, cem) = (Client::new(1), Client::new(2), Client::new(3));
    let migrated = MigratedRoom::of(&[&ann, &ben], RoomOptions::new().capacity(2)).await;
    migrated.begin_migration(&[&ann, &ben]);
    migrated.expect(&[&ann, &ben]).await;
    let join = async || {
        let join = cem.joining(None);
        match migrated
            .next
            .run(move |core| core.join(&join, NO_EVIDENCE, &RoomInstanceInfo::default()))
            .await
            .expect("it is there")
        {
            JoinStep::Refused(refusal) => Some(refusal.code),
            JoinStep::Joined { .. } => None,
            step => panic!("{step:?}"),
        }
    };
    assert_eq!(join().await, Some(Code::RoomFull));
    migrated.admit(&ann).await;
    assert_eq!(join().await, Some(Code::RoomFull));
    assert!(ben.handle.remove_from(&migrated.next, None).await.is_some());
    assert_eq!(join().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_listener_of_a_superseded_instance_is_closed() {
    let registry = registry(vec![room("chat", false, RoomOptions::new())]);
    let room = Arc::clone(registry.declared("chat").expect("declared").0);
    let (listener, mut receiver) = Listener::new(ConnectionId(1));
    let instance = registry
        .push(&room, "chat", RoomCommand::run(|core| drop(core.supersede()), None))
        .expect("it is made");
    instance.enqueue(RoomChange::Listen(listener, crate::wire::EventSet::ALL));
    let ended = soon("its queue closes", receiver.next(&Arc::downgrade(&instance))).await;
    assert!(ended.is_none());
}
