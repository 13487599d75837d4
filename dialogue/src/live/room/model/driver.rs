//! The model's driver: it carries out the core's effects, and appends to the store with every outcome.

use super::*;

/// The outcome of a write to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Write {
    Works,
    /// It fails, and the caller knows that nothing was written.
    Untouched,
    /// It is written, but the caller only learns that it may be.
    Unknown,
    /// It is not written, but the caller only learns that it may be.
    Lost,
}

impl World {
    /// Runs a command after the pending events are committed, and carries out its effects.
    pub(super) fn run<T>(&mut self, command: impl FnOnce(&mut Self) -> T) -> T {
        self.begin_command();
        self.commit();
        let result = command(self);
        self.carry_out();
        self.flush();
        result
    }

    /// Does what the driver does before every command.
    pub(super) fn begin_command(&mut self) {
        self.core.set_time(self.time);
        if self.core.is_probe_due() {
            self.commit();
            self.probe();
        }
    }

    pub(super) fn carry_out(&mut self) {
        self.queue_replies();
        for effect in self.core.take_effects() {
            if self.is_traced {
                eprintln!("  {effect:?}");
            }
            match effect {
                RoomEffect::Resized { local, .. } => self.local_size = local,
                RoomEffect::MemberJoined(user) => *self.roster.entry(user).or_default() += 1,
                RoomEffect::MemberLeft(user) => {
                    let connections = self.roster.entry(user).or_default();
                    *connections -= 1;
                    assert!(*connections >= 0, "more connections left than joined");
                }
                RoomEffect::SendLeft { handles, reason } => {
                    let reason = Some(reason.as_ref().into());
                    let left = frame::Left { room_id: ROOM.into(), reason }.encode(None);
                    handles.iter().for_each(|handle| handle.outbox.send(&left));
                }
                RoomEffect::NotifyNodes(_) | RoomEffect::Deleted { .. } => {}
                RoomEffect::StartTimer(after, timer) => {
                    self.timers.push((self.time.monotonic + after, timer));
                }
                RoomEffect::TrimStore => self.trim_due = true,
                RoomEffect::StartReplay(outbox) => outbox.start_replay(&self.instance),
                RoomEffect::ReplayPageSent(outbox, more) => outbox.replay_page_sent(&self.instance, more),
                RoomEffect::RequestPage(connection) => self.instance.requests.lock().push(connection),
                RoomEffect::FetchPage { connection, after, epoch } => {
                    self.fetches.push_back((connection, after, epoch));
                }
            }
        }
    }

    /// Queues the replies, each of which has to be true now.
    pub(super) fn queue_replies(&mut self) {
        let replies: Vec<_> = self.core.drain_replies().collect();
        for (reply, outcome) in replies {
            let PublishReply::Frame(_, Some(id)) = &reply else { panic!("{reply:?}") };
            let number: usize = id.parse().expect("a number");
            self.answered(number, &outcome);
            self.replies.push(reply, outcome);
        }
    }

    pub(super) fn answered(&mut self, number: usize, outcome: &PublishOutcome) {
        if self.is_traced {
            eprintln!("  event {number}: {outcome:?}");
        }
        let sent = &mut self.sent[number];
        sent.answers += 1;
        assert_eq!(sent.answers, 1, "event {number} was answered twice");
        let is_late = sent.is_late;
        let (from, key, kind) = (Arc::clone(&sent.from), sent.key.clone(), sent.kind);
        let accepted = match outcome {
            Ok(_) if is_late => panic!("an event of a removed connection was accepted"),
            Ok((accepted, _)) => accepted,
            Err(refusal) => {
                let expected =
                    [Code::Unavailable, Code::NotInRoom, Code::RoomNotFound, Code::Unauthenticated];
                return assert!(expected.contains(&refusal.code), "{refusal:?}");
            }
        };
        let id = Id::parse(&accepted.event_id).expect("an id");
        match accepted.seq {
            None => assert_eq!(kind, TYPING),
            Some(seq) => {
                let truth = self.truth.get(&id).unwrap_or_else(|| panic!("{accepted:?} is not in the store"));
                assert_eq!(truth.seq, seq);
                // A repeat is acknowledged from memory while the store can't be read.
                let is_there = self.is_in_log(id) || (accepted.duplicate && !self.is_up);
                assert!(is_there, "{accepted:?} is not in the store any more");
                assert_eq!(truth.kind, kind);
            }
        }
        if let Some(key) = key {
            let losses = self.losses;
            let entry = self.keys.entry((from, key)).or_insert_with(|| (accepted.event_id.clone(), losses));
            if entry.1 == losses {
                assert_eq!(entry.0, accepted.event_id, "two events with one key");
            } else {
                *entry = (accepted.event_id.clone(), losses);
            }
        }
    }

    pub(super) fn flush(&mut self) {
        self.queue_replies();
        self.replies.flush();
    }

    fn write(&mut self) -> Write {
        if !self.is_up {
            return Write::Untouched;
        }
        match self.random.u32(..40) {
            0 if self.may_fail => Write::Untouched,
            1 if self.may_fail => Write::Unknown,
            2 if self.may_fail => Write::Lost,
            _ => Write::Works,
        }
    }

    pub(super) fn commit(&mut self) {
        let Some(mut pending) = self.core.take_pending() else { return self.flush() };
        if self.mode == Mode::Cluster {
            self.publish(pending);
            self.carry_out();
            return self.flush();
        }
        if self.mode == Mode::Store {
            let stored = match self.core.take_append(&mut pending) {
                Some(append) => self.append(append),
                None if pending.repeats() => match self.is_up.then(|| self.stored_head()) {
                    Some(StoreHead::Same | StoreHead::Ahead | StoreHead::New(_)) | None => Ok(()),
                    Some(_) => {
                        self.core.mark_uncertain(self.time);
                        Err(())
                    }
                },
                None => Ok(()),
            };
            if stored.is_err() {
                match self.core.refuse_pending(pending) {
                    Some(rest) => pending = rest,
                    None => {
                        self.carry_out();
                        return self.flush();
                    }
                }
            }
        }
        let batch = self.core.commit(pending);
        self.deliver(&batch);
    }

    pub(super) fn append(&mut self, append: Append) -> Result<(), ()> {
        let write = self.write();
        if write == Write::Untouched {
            return Err(());
        }
        let written = match write {
            Write::Lost => Err(StoreError::new("lost")),
            _ => now(self.store.append(vec![append])),
        };
        self.note_stored();
        if written.is_err() || write == Write::Unknown {
            self.core.mark_uncertain(self.time);
            return Err(());
        }
        Ok(())
    }

    /// Delivers a batch. What the room commits without a store is thereby true.
    pub(super) fn deliver(&mut self, batch: &Batch) {
        for record in batch.events() {
            match record.seq {
                Some(seq) if self.mode == Mode::Memory => {
                    let key = record.conflated.clone();
                    let order = self.next_order();
                    let truth =
                        Truth { seq, order, losses: self.losses, before: self.head, kind: record.event, key };
                    self.truth.insert(record.event_id, truth);
                    self.head = Some(record.event_id);
                }
                Some(_) => {}
                None => _ = self.unlogged.insert(record.event_id),
            }
        }
        self.queue_replies();
        let mut from = Some(0);
        while let Some(index) = from {
            from = self.core.deliver(batch, index, 2);
        }
        self.replies.flush();
        self.carry_out();
    }

    /// Returns whether the log has the event, as far as the store is known to have it.
    pub(super) fn is_in_log(&self, id: Id) -> bool {
        let before = |id: &Id| self.truth.get(id).and_then(|truth| truth.before);
        std::iter::successors(self.head, before).any(|other| other == id)
    }

    fn next_order(&mut self) -> u64 {
        self.orders += 1;
        self.orders
    }

    /// Notes the events that the store has.
    pub(super) fn note_stored(&mut self) {
        let Some(head) = now(self.store.head(ROOM)).expect("it works") else { return };
        if self.head == Some(head.last.event_id) {
            return;
        }
        let known = self.head.and_then(|head| self.truth.get(&head)).map_or(0, |truth| truth.seq);
        let mut query = Query::new(Order::OldestFirst, usize::MAX);
        query.after = Some(known);
        query.max_bytes = usize::MAX;
        for event in now(self.store.read(ROOM, query)).expect("it works").events {
            let kind = self.spec.event(&event.event).expect("it is declared");
            let key = event.conflation_key.as_deref().map(Box::from);
            let order = self.next_order();
            let truth = Truth { seq: event.seq, order, losses: self.losses, before: self.head, kind, key };
            self.truth.insert(event.event_id, truth);
            self.head = Some(event.event_id);
        }
    }

    pub(super) fn publish(&mut self, mut pending: PendingAppend) {
        for _ in 0..16 {
            let publication = self.core.take_publication(&mut pending);
            let events = publication.exact.then(|| {
                publication.drafts.iter().map(|draft| draft.event.clone()).collect::<Vec<StoredEvent>>()
            });
            let write = self.write();
            let published = match write {
                Write::Untouched => return self.core.refuse_all(pending, self.time),
                Write::Lost => Err(StoreError::new("lost")),
                _ => now(self.store.publish(self.this_node, vec![publication])).remove(0),
            };
            self.note_stored();
            let published = match published {
                Ok(published) if write == Write::Works => published,
                Err(error) if error.is_conflict() => {
                    self.core.refuse_all(pending, self.time);
                    self.carry_out();
                    self.flush();
                    return self.probe();
                }
                _ => {
                    self.core.refuse_all(pending, self.time);
                    return self.core.mark_uncertain(self.time);
                }
            };
            let published_count = published.outcomes.len();
            let Some(events) = events else { return self.commit_published(pending, published) };
            let unpublished: Vec<_> = events.into_iter().skip(published_count).collect();
            let (committed, rest) = pending.split(published_count);
            if published_count > 0 {
                self.commit_published(committed, published);
            } else {
                self.core.set_epoch_if_empty(&published.epoch);
                let batch = self.core.append_stored(&published.missed);
                self.deliver(&batch);
                if self.core.log().head().seq < published.before {
                    self.probe();
                }
                if self.core.log().head().seq < published.before {
                    return self.core.refuse_all(rest, self.time);
                }
            }
            match rest.is_empty() {
                true => return,
                false => pending = self.core.renumber(rest, unpublished),
            }
        }
        self.core.refuse_all(pending, self.time);
    }

    pub(super) fn commit_published(&mut self, pending: PendingAppend, published: Published) {
        self.core.set_epoch_if_empty(&published.epoch);
        let mut batch = self.core.append_stored(&published.missed);
        if self.core.log().head().seq == published.before {
            self.core.commit_published(pending, published.outcomes, &mut batch);
            return self.deliver(&batch);
        }
        self.core.acknowledge(pending, published.outcomes, &mut batch);
        self.deliver(&batch);
        self.probe();
    }

    pub(super) fn stored_head(&mut self) -> StoreHead {
        let found = now(self.store.head(ROOM)).expect("it works");
        let end = self.core.compare_head(found.as_ref());
        let StoreHead::AheadOf { seq } = end else { return end };
        let mut query = Query::new(Order::OldestFirst, 1);
        (query.after, query.before) = (Some(seq - 1), Some(seq + 1));
        let event = now(self.store.read(ROOM, query)).expect("it works").events.pop();
        let same = event.is_none_or(|event| event.event_id.as_str() == self.core.log().head().event_id);
        if same { StoreHead::Ahead } else { StoreHead::SetBack }
    }

    pub(super) fn probe(&mut self) {
        if self.core.is_closed() || self.mode == Mode::Memory {
            return;
        }
        if !self.is_up || (self.may_fail && self.random.u32(..20) == 0) {
            self.core.mark_uncertain(self.time);
            return self.carry_out();
        }
        match self.stored_head() {
            StoreHead::Same => self.core.mark_certain(self.time),
            StoreHead::Ahead | StoreHead::AheadOf { .. } => self.append_stored(),
            StoreHead::New(epoch) => {
                self.core.set_epoch_if_empty(&epoch);
                self.append_stored();
            }
            StoreHead::Missing => {
                self.renew_epoch();
                self.epoch_override = None;
                self.supersede();
            }
            StoreHead::SetBack => {
                if self.epoch_override.as_ref().is_none_or(|name| name == self.core.epoch()) {
                    self.epoch_override = Some(self.fresh_epoch());
                }
                self.supersede();
            }
            StoreHead::Replaced => self.supersede(),
        }
        self.carry_out();
    }

    pub(super) fn append_stored(&mut self) {
        loop {
            let before = self.core.log().head().seq;
            let mut query = Query::new(Order::OldestFirst, 10);
            query.after = Some(before);
            let page = now(self.store.read(ROOM, query)).expect("it works");
            if page.events.first().is_some_and(|first| first.seq > before + 1) {
                return self.supersede();
            }
            let batch = self.core.append_stored(&page.events);
            if self.core.log().head().seq == before {
                return self.core.mark_certain(self.time);
            }
            self.deliver(&batch);
        }
    }

    pub(super) fn fresh_epoch(&mut self) -> Arc<str> {
        self.epochs += 1;
        format!("e{}", self.epochs).into()
    }

    pub(super) fn renew_epoch(&mut self) {
        if self.epoch == *self.core.store_epoch() {
            self.epoch = self.fresh_epoch();
        }
    }
}
