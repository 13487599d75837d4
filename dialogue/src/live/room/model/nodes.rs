//! The model's store and other node.

use super::*;

impl World {
    pub(super) fn fetch_page(&mut self) {
        let Some((connection, after, _)) = self.fetches.pop_front() else { return };
        if !self.is_up {
            return self.run(|world| world.core.replay_failed(connection, after));
        }
        // Pages begin at places that many clients share.
        let length = 5;
        let mut query = Query::new(Order::OldestFirst, usize::try_from(length).expect("small"));
        query.after = Some(after - after % length);
        let events = now(self.store.read(ROOM, query)).expect("it works").events;
        let is_beyond = events.last().is_some_and(|last| last.seq > after);
        let events = if is_beyond { events } else { Vec::new() };
        let page = events.first().zip(events.last()).map(|(first, last)| ArchivedPage {
            records: events.iter().map(|event| Arc::new(self.spec.record(ROOM, event))).collect(),
            first: first.seq,
            through: last.seq,
            bytes: 0,
            complete: true,
            ids: events.iter().map(|event| event.event_id).collect(),
        });
        self.run(|world| world.core.replay_archived(connection, after, page.as_ref()));
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.time.monotonic += time;
        self.time.unix_ms += u64::try_from(time.as_millis()).expect("small");
        let due = |(at, _): &(Duration, RoomTimer)| *at <= self.time.monotonic;
        let (due, left) = std::mem::take(&mut self.timers).into_iter().partition(due);
        self.timers = left;
        let due: Vec<_> = due;
        for (_, timer) in due {
            let instance = self.instance.instance_id;
            self.run(|world| {
                if world.instance.instance_id == instance {
                    world.core.timer_fired(timer);
                }
            });
        }
        if self.needs_catch_up {
            self.catch_up();
        }
        self.run(|_| {});
        // With the time until the timer was run.
        let held = self.spec.options.wait.unwrap_or_default() + Duration::from_secs(1);
        while let Some(sent) = self.sent.get(self.unanswered).filter(|sent| sent.answers > 0) {
            assert_eq!(sent.answers, 1);
            self.unanswered += 1;
        }
        let late = self.sent.get(self.unanswered).filter(|sent| sent.at + held < self.time.monotonic);
        assert!(late.is_none(), "an event was held for too long: {late:?}");
    }

    pub(super) fn catch_up(&mut self) {
        self.run(|world| {
            if world.is_up {
                world.needs_catch_up = false;
                world.probe();
                let members = world.other_members.iter().map(|(user, connections)| {
                    let connections = u32::try_from(*connections).expect("few");
                    Member::new(world.other_node, Arc::clone(user), connections)
                });
                let listed = BTreeSet::from([world.this_node, world.other_node]);
                let change = RosterChange::Replaced { members: members.collect(), listed };
                world.core.set_epoch(world.epoch_override.clone());
                world.core.change_roster(change);
            }
        });
    }

    pub(super) fn other_publishes(&mut self) {
        if self.mode != Mode::Cluster || !self.is_up {
            return;
        }
        let drafts = (0..self.random.u32(1..4)).map(|number| {
            // One at least is in the log.
            let kind =
                [MESSAGE, MESSAGE, PRICE, TYPING][self.random.usize(..if number == 0 { 3 } else { 4 })];
            let price = (kind == PRICE).then(|| self.random.u32(..2).to_string().into());
            let (seq, name) = (u64::from(kind != TYPING), self.spec.event_name(kind));
            let (id, now) = (Id::fresh(), self.time.unix_ms);
            let mut event = StoredEvent::new(seq, id, now, name, "dora".into(), "\"y\"".into());
            event.conflation_key = price;
            Draft::new(event, 200)
        });
        let mut publication = Publication::new(ROOM.into(), Arc::clone(&self.epoch), drafts.collect());
        if let Some(head) = now(self.store.head(ROOM)).expect("it works") {
            (publication.after, publication.after_id) = (head.last.seq, Some(head.last.event_id));
            publication.epoch = head.epoch;
        }
        let (before, after_id) = (publication.after, publication.after_id);
        let published = now(self.store.publish(self.other_node, vec![publication])).remove(0);
        let published = published.expect("it has the head");
        self.note_stored();
        let events = published.outcomes.into_iter().map(|outcome| match outcome {
            DraftOutcome::Published(event) => event,
            DraftOutcome::Duplicate(StoredKey { seq, .. }) => panic!("{seq} has no key"),
        });
        let events: Vec<_> = events.collect();
        let unlogged = events.iter().filter(|event| event.seq == 0);
        self.unlogged.extend(unlogged.map(|event| event.event_id));
        let mut feed = FeedEvents::new(ROOM.into(), self.other_node, published.epoch, before, events);
        feed.after_id = after_id;
        self.feed.push_back(feed);
    }

    pub(super) fn receive(&mut self) {
        let Some(feed) = self.feed.pop_front() else { return };
        self.begin_command();
        if self.spec.options.audit {
            self.commit();
        }
        match self.core.receive_events(&feed) {
            Some(batch) => self.deliver(&batch),
            None => {
                self.commit();
                self.probe();
                let batch = self.core.unlogged_events(&feed);
                self.deliver(&batch);
            }
        }
        self.carry_out();
        self.flush();
    }

    pub(super) fn other_members(&mut self) {
        if self.mode != Mode::Cluster {
            return;
        }
        let user: Arc<str> = ["dora", USERS[0]][self.random.usize(..2)].into();
        let connections = self.random.u64(..3);
        self.other_members.insert(Arc::clone(&user), connections);
        self.other_members.retain(|_, connections| *connections > 0);
        let change = MemberChange::new(user, u32::try_from(connections).expect("few"));
        let change = RosterChange::Members { node: self.other_node, changes: vec![change] };
        self.run(|world| world.core.change_roster(change));
    }

    pub(super) fn set_back(&mut self) {
        if self.mode == Mode::Memory || self.random.bool() {
            return;
        }
        let Some(head) = now(self.store.head(ROOM)).expect("it works") else { return };
        let mut query = Query::new(Order::OldestFirst, usize::MAX);
        query.max_bytes = usize::MAX;
        let mut events = now(self.store.read(ROOM, query)).expect("it works").events;
        let kept = if head.first > 1 { 0 } else { events.len() - self.random.usize(1..=events.len().min(5)) };
        events.truncate(kept);
        self.head = events.last().map(|event| event.event_id);
        self.store = Local::new();
        self.was_set_back = true;
        if events.is_empty() && self.random.bool() {
            // All records are lost, too.
            self.epoch = self.fresh_epoch();
            self.epoch_override = None;
        }
        if !events.is_empty() {
            now(self.store.append(vec![Append::new(ROOM.into(), head.epoch, events)])).expect("it works");
        }
        self.losses += 1;
    }
}
