//! Members of a room that lost its log, on their way into the next instance.

use std::collections::BTreeSet;

use super::*;
use crate::{Code, hub::moving::Move};

const GRACE: Duration = Duration::from_secs(1);

/// A room whose log was lost once its members were in it.
struct Moved {
    _registry: Arc<Registry>,
    lost: Arc<Instance>,
    next: Arc<Instance>,
    /// The users that the members take for present.
    shown: Option<Arc<BTreeSet<Arc<str>>>>,
}

impl Moved {
    async fn of(members: &[&Client], options: RoomOptions) -> Self {
        let registry = registry(vec![room("chat", false, options)]);
        let enter = || {
            let room = registry.declared("chat").expect("declared").0;
            registry.enter(room, "chat", None).expect("it is made")
        };
        for member in members {
            let _ = member.link.enter(&enter());
            member.join(&registry, "chat", None).await;
        }
        let lost = enter();
        // Until all were sent who came.
        tokio::time::sleep(GRACE).await;
        let Move { shown, .. } = lost.run(|state| state.give_way()).await.expect("it isn't retired");
        lost.retire();
        let next = enter();
        Moved { _registry: registry, lost, next, shown }
    }

    fn set_off(&self, members: &[&Client]) {
        for member in members {
            assert!(member.link.move_on(&self.lost, &self.next));
        }
    }

    /// Notes that those are about to come in.
    async fn expect(&self, members: &[&Client]) {
        let links = members.iter().map(|member| Arc::clone(&member.link)).collect();
        let shown = self.shown.clone();
        let may_come = self.next.run(move |state| state.expect(links, shown.as_deref())).await;
        assert_eq!(may_come, Some(true));
    }

    async fn let_in(&self, member: &Client) {
        let join = Join { moved: true, looked: true, ..member.joining(None) };
        assert!(matches!(self.next.let_in(join).await, Some(Ok(true))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_that_is_put_out_before_it_is_expected_is_announced_to_have_left() {
    let (ann, mallory) = (Client::new(1), Client::new(2));
    let house = Moved::of(&[&ann, &mallory], RoomOptions::new().presence(GRACE)).await;
    house.set_off(&[&ann, &mallory]);
    let was_in = mallory.link.take_out(&house.next, Some("enough")).await;
    assert!(was_in.is_some_and(|was_in| Arc::ptr_eq(&was_in, &house.next)));
    house.expect(&[&ann, &mallory]).await;
    house.let_in(&ann).await;
    house.next.run(|state| state.expect_no_more()).await.expect("it is there");
    tokio::time::sleep(10 * GRACE).await;
    let sent = ann.seen(|_| true).await;
    let left: Vec<_> = sent.iter().filter(|frame| frame["change"] == "left").collect();
    assert_eq!(left.len(), 1, "{sent:?}");
    assert_eq!((&left[0]["userId"], &left[0]["size"]), (&"user2".into(), &1.into()));
    let connection = ann.link.id();
    house.next.run(move |state| state.leave(connection)).await.expect("it is there");
    tokio::time::sleep(10 * GRACE).await;
    assert_eq!(house.next.run(|state| state.is_idle()).await, Some(true));
}

#[tokio::test(start_paused = true)]
async fn a_join_of_a_member_on_the_way_leaves_it_on_the_way() {
    let ann = Client::new(1);
    let house = Moved::of(&[&ann], RoomOptions::new()).await;
    assert_eq!(ann.link.enter(&house.next), None);
    house.set_off(&[&ann]);
    assert_eq!(ann.link.enter(&house.next), None);
    house.expect(&[&ann]).await;
    house.let_in(&ann).await;
    assert_eq!(ann.link.enter(&house.next), Some(false));
}

#[tokio::test(start_paused = true)]
async fn members_on_the_way_have_their_places() {
    let (ann, ben, cem) = (Client::new(1), Client::new(2), Client::new(3));
    let house = Moved::of(&[&ann, &ben], RoomOptions::new().capacity(2)).await;
    house.set_off(&[&ann, &ben]);
    house.expect(&[&ann, &ben]).await;
    let join = async || {
        let join = cem.joining(None);
        match house.next.run(move |state| state.join(join)).await.expect("it is there") {
            Err(NotJoined::Refused(refusal)) => Some(refusal.code),
            joined => joined.map(|_| None).expect("it joins"),
        }
    };
    assert_eq!(join().await, Some(Code::RoomFull));
    house.let_in(&ann).await;
    assert_eq!(join().await, Some(Code::RoomFull));
    assert!(ben.link.take_out(&house.next, None).await.is_some());
    assert_eq!(join().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_comes_to_a_lost_instance_is_to_listen_anew() {
    let registry = registry(vec![room("chat", false, RoomOptions::new())]);
    let room = Arc::clone(registry.declared("chat").expect("declared").0);
    let (listener, mut heard) = Listener::new(ConnectionId(1));
    let instance = registry.cast(&room, "chat", |state| drop(state.give_way())).expect("it is made");
    instance.cast(move |state| state.listen(listener, crate::wire::EventSet::ALL));
    let ended = soon("its queue closes", heard.next(&Arc::downgrade(&instance))).await;
    assert!(ended.is_none());
}
