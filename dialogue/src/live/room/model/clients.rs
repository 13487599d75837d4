//! The model's clients: what they send, and what they have to be sent.

use super::*;

pub(super) struct Client {
    pub(super) handle: Arc<ConnectionHandle>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) unread: Vec<u8>,
    /// The joins whose `joined` was not read yet.
    pub(super) joins: VecDeque<Join>,
    /// What the client has of the room, while it is in it.
    pub(super) reading: Option<Reading>,
    /// The position that it resumes from.
    pub(super) position: Option<Position>,
    pub(super) filter: EventSet,
    /// The instance from which the server removed it last.
    pub(super) removed_from: Option<InstanceId>,
}

/// A join that was sent.
#[derive(Debug)]
pub(super) struct Join {
    since: Option<Position>,
    /// Set if the log has all that follows on the position.
    is_continued: bool,
    /// The users that the room's members took for present.
    shown: BTreeSet<Arc<str>>,
}

/// A client's view of a room that it is in.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) epoch: String,
    /// The event up to which the client has all.
    pub(super) cursor: Option<Id>,
    pub(super) unlogged: HashSet<Id>,
    /// The users that the room's members took for present when it joined, and the changes since.
    pub(super) shown: BTreeSet<Arc<str>>,
    pub(super) users: HashMap<String, bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Frame<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    id: Option<u64>,
    pub(super) epoch: Option<&'a str>,
    seq: Option<u64>,
    event: Option<&'a str>,
    event_id: Option<&'a str>,
    resume: Option<&'a str>,
    code: Option<&'a str>,
    user_id: Option<&'a str>,
    #[serde(default)]
    change: Option<&'a str>,
}

impl World {
    pub(super) fn connect(&mut self) -> Client {
        self.connections += 1;
        let max_bytes = if self.random.bool() { 3_000 } else { 1 << 20 };
        let id = ConnectionId(self.connections);
        let outbox = Outbox::new(id, Encoding::WebSocket, max_bytes, None, Vec::new());
        let user = crate::identity::User {
            id: USERS[self.random.usize(..USERS.len())].into(),
            authenticated: None,
            anonymous_token: None,
            is_new: false,
        };
        let handle = ConnectionHandle::new(Arc::clone(&outbox), user);
        let filter = match self.random.u32(..3) {
            0 => EventSet::NONE.with(MESSAGE),
            1 => EventSet::NONE.with(MESSAGE).with(PRICE),
            _ => EventSet::ALL,
        };
        let (joins, unread) = (VecDeque::new(), Vec::new());
        Client { handle, outbox, unread, joins, reading: None, position: None, filter, removed_from: None }
    }

    /// Returns the index of a client that is in the room, as the server sees it.
    pub(super) fn member(&mut self) -> Option<usize> {
        let members: Vec<_> =
            (0..self.clients.len()).filter(|client| self.is_member(&self.clients[*client])).collect();
        (!members.is_empty()).then(|| members[self.random.usize(..members.len())])
    }

    pub(super) fn is_member(&self, client: &Client) -> bool {
        self.core.members.has(client.handle.id())
    }

    pub(super) fn trigger(&mut self) {
        // Events of a connection that was just removed may be under way.
        let removed = |client: &usize| self.clients[*client].removed_from == Some(self.instance.instance_id);
        let removed = (0..self.clients.len()).find(removed).filter(|_| self.random.u32(..10) == 0);
        let Some(client) = removed.or_else(|| self.member()) else { return };
        let kind = match self.random.u32(..8) {
            0 | 1 => TYPING,
            2 | 3 => PRICE,
            _ => MESSAGE,
        };
        let key = (kind != TYPING && self.random.bool()).then(|| format!("k{}", self.sent.len()).into());
        self.send(client, kind, key);
    }

    pub(super) fn repeat(&mut self) {
        let Some(client) = self.member() else { return };
        let user = &self.clients[client].handle.user_id;
        let mut earlier = self.sent.iter().rev().filter(|sent| sent.from == *user && sent.key.is_some());
        let Some(sent) = earlier.nth(self.random.usize(..3)) else { return };
        let (kind, key) = (sent.kind, sent.key.clone());
        self.send(client, kind, key);
    }

    pub(super) fn send(&mut self, client: usize, kind: EventIndex, key: Option<Box<str>>) {
        let instance = self.instance.instance_id;
        self.begin_command();
        if self.instance.instance_id != instance {
            // The room refuses what is sent to an instance that has closed.
            return;
        }
        let Client { handle, outbox, .. } = &self.clients[client];
        let number = self.sent.len();
        let from = Arc::clone(&handle.user_id);
        let is_late = !self.is_member(&self.clients[client]);
        let (at, sender) = (self.time.monotonic, Arc::clone(&from));
        self.sent.push(Sent { kind, from: sender, key: key.clone(), at, is_late, answers: 0 });
        let event = NewEvent {
            index: kind,
            data: format!("\"{}\"", "x".repeat(self.random.usize(..200))),
            conflation_key: (kind == PRICE).then(|| self.random.u32(..2).to_string()),
            from,
            server: false,
            meta: None,
            key,
            event_id: None,
        };
        let reply = PublishReply::Frame(Arc::clone(outbox), Some(number.to_string().into()));
        let (origin, sender_outbox) = (EventOrigin::other_node(), None);
        self.core.accept(PublishRequest { event, origin, sender_outbox, reply });
        self.carry_out();
    }

    pub(super) fn join(&mut self) {
        let client = self.random.usize(..self.clients.len());
        let is_member = self.is_member(&self.clients[client]);
        let resumes = is_member || self.random.u32(..5) > 0;
        let Client { handle, position, filter, .. } = &self.clients[client];
        let (handle, since, filter) = (Arc::clone(handle), position.clone().filter(|_| resumes), *filter);
        if is_member && since.is_none() {
            return;
        }
        let options = JoinOptions {
            filter: Some(filter),
            since: since.clone(),
            id: Some(RawValue::from_string("1".to_owned()).expect("JSON")),
            ..JoinOptions::default()
        };
        let request = JoinRequest { handle: Arc::clone(&handle), options, is_migrating: false };
        let join = |world: &mut Self| {
            handle.enter(&world.instance);
            let step = world.try_join(&request);
            (step, since.as_ref().is_some_and(|since| world.is_continued(since)))
        };
        match self.run(join) {
            (JoinStep::Joined { is_new }, is_continued) => {
                assert_eq!(is_new, !is_member);
                let shown = self.shown();
                self.clients[client].removed_from = None;
                self.clients[client].joins.push_back(Join { since, is_continued, shown });
            }
            (JoinStep::Refused(refusal), _) => {
                let full = self.local_size >= usize::try_from(CAPACITY).expect("small");
                assert!(refusal.code == Code::Unavailable || (refusal.code == Code::RoomFull && full));
                if !is_member {
                    handle.exit(&*self.instance, "refused");
                }
            }
            other => panic!("{other:?}"),
        }
    }

    /// Returns whether the log certainly has all that follows on a position.
    fn is_continued(&self, since: &Position) -> bool {
        let truth = Id::parse(&since.event_id).and_then(|id| self.truth.get(&id));
        let is_kept = since.seq + 1 >= self.core.log().first_seq() && since.epoch == **self.core.epoch();
        truth.is_some_and(|truth| truth.losses == self.losses) && is_kept
    }

    pub(super) fn try_join(&mut self, request: &JoinRequest) -> JoinStep {
        let mut evidence = ResumeEvidence { is_probed: request.is_migrating, ..ResumeEvidence::default() };
        loop {
            match self.core.join(request, evidence, &RoomInstanceInfo::default()) {
                JoinStep::NeedsProbe => {
                    assert!(!std::mem::replace(&mut evidence.is_probed, true));
                    let instance = self.instance.instance_id;
                    self.probe();
                    if self.instance.instance_id != instance {
                        request.handle.enter(&self.instance);
                    }
                }
                JoinStep::NeedsStoredId(_) => {
                    assert_eq!(evidence.stored_id, StoredId::NotRead);
                    let seq = request.options.since.as_ref().map_or(0, |since| since.seq);
                    let mut query = Query::new(Order::OldestFirst, 1);
                    (query.after, query.before) = (seq.checked_sub(1), Some(seq + 1));
                    let event = now(self.store.read(ROOM, query)).expect("it works").events.pop();
                    evidence.stored_id =
                        event.map_or(StoredId::Missing, |event| StoredId::Found(event.event_id));
                }
                step => {
                    self.carry_out();
                    return step;
                }
            }
        }
    }

    pub(super) fn leave(&mut self, step: Step) {
        let Some(client) = self.member() else { return };
        let handle = Arc::clone(&self.clients[client].handle);
        match step {
            Step::Leave => {
                assert!(self.run(|world| world.core.release_connection(&handle)));
                self.clients[client].reading = None;
                // Frames that are queued for it are of the membership that has ended.
                self.clients[client].joins.clear();
                self.drop_unread(client);
            }
            Step::Remove => {
                assert!(self.run(|world| world.core.remove(&handle, "enough")));
                self.clients[client].removed_from = Some(self.instance.instance_id);
            }
            _ => return self.disconnect(client),
        }
        handle.exit(&*self.instance, "left");
    }

    /// Replaces a client's connection; the client keeps its position.
    pub(super) fn disconnect(&mut self, client: usize) {
        let handle = Arc::clone(&self.clients[client].handle);
        handle.close();
        handle.outbox.close(OutboxCloseReason::Disconnected);
        self.run(|world| world.core.release_connection(&handle));
        handle.exit(&*self.instance, "left");
        let mut next = self.connect();
        next.position = self.clients[client].position.take();
        // A position holds for the events of one filter.
        next.filter = self.clients[client].filter;
        self.clients[client] = next;
    }

    pub(super) fn drop_unread(&mut self, client: usize) {
        let position = self.clients[client].position.clone();
        while self.take(client, usize::MAX) {}
        self.clients[client].unread.clear();
        self.clients[client].position = position;
    }

    /// Takes bytes from the outbox; returns whether there were any.
    pub(super) fn take(&mut self, client: usize, max: usize) -> bool {
        let mut taken: Vec<bytes::Bytes> = Vec::new();
        let outbox = Arc::clone(&self.clients[client].outbox);
        match outbox.poll_take(&mut Context::from_waker(Waker::noop()), max, &mut taken) {
            Poll::Ready(Ok(())) => {
                taken.iter().for_each(|bytes| self.clients[client].unread.extend_from_slice(bytes));
                true
            }
            Poll::Ready(Err(_)) => {
                self.disconnect(client);
                false
            }
            Poll::Pending => false,
        }
    }

    pub(super) fn read(&mut self) {
        let client = self.random.usize(..self.clients.len());
        let max = if self.random.bool() { 500 } else { usize::MAX };
        self.read_up_to(client, max);
    }

    pub(super) fn read_up_to(&mut self, client: usize, max: usize) -> bool {
        if !self.take(client, max) {
            return false;
        }
        let unread = std::mem::take(&mut self.clients[client].unread);
        let mut rest = &unread[..];
        while let Some((json, after)) = next_frame(rest) {
            let frame: Frame<'_> = serde_json::from_slice(json).expect("a frame is JSON");
            self.understand(client, &frame);
            rest = after;
        }
        self.clients[client].unread = rest.to_vec();
        true
    }

    pub(super) fn understand(&mut self, client: usize, frame: &Frame<'_>) {
        if self.is_traced {
            eprintln!("  client {client} reads {frame:?}");
        }
        match frame.kind {
            "joined" => self.joined(client, frame),
            "event" => self.event(client, frame),
            "left" => self.clients[client].reading = None,
            "presence" => {
                let Some(reading) = &mut self.clients[client].reading else {
                    panic!("a client that isn't in the room gets presence");
                };
                let (user, is_in) = (frame.user_id.expect("a user"), frame.change == Some("joined"));
                let before = reading.users.insert(user.to_owned(), is_in);
                assert_ne!(before, Some(is_in), "presence of {user} twice");
            }
            "ok" => {
                assert_eq!(self.sent[usize::try_from(frame.id.expect("an id")).expect("small")].answers, 1)
            }
            "error" => assert!(frame.code.is_some() && frame.id.is_some()),
            "skipped" => {}
            other => panic!("an unexpected frame: {other}"),
        }
    }

    pub(super) fn joined(&mut self, client: usize, frame: &Frame<'_>) {
        let epoch = frame.epoch.expect("an epoch").to_owned();
        let head = Position {
            epoch: epoch.clone(),
            seq: frame.seq.expect("a seq"),
            event_id: frame.event_id.expect("an id").to_owned(),
        };
        let mut join = frame.id.map(|_| self.clients[client].joins.pop_front().expect("a join"));
        let shown = join.as_mut().map(|join| std::mem::take(&mut join.shown));
        let now_reading = self.clients[client].reading.take();
        let (start, resumes) = match (frame.resume.expect("an outcome"), join) {
            ("fresh", Some(Join { since: None, .. })) | ("lost", None) => (head, false),
            ("lost", Some(Join { since: Some(_), is_continued: false, .. })) => (head, false),
            ("complete", Some(Join { since: Some(since), .. })) => (since, true),
            ("complete", None) => (self.clients[client].position.clone().expect("a position"), true),
            other => panic!("{other:?}"),
        };
        assert!(!resumes || start.epoch == epoch, "complete, but in another log");
        let cursor = Id::parse(&start.event_id);
        let (shown, users) = match (shown, now_reading) {
            (Some(shown), _) => (shown, HashMap::new()),
            // A migration is no join.
            (None, Some(reading)) => (reading.shown, reading.users),
            (None, None) => panic!("a client that isn't in the room migrates"),
        };
        self.clients[client].position = Some(Position { epoch: epoch.clone(), ..start });
        self.clients[client].reading =
            Some(Reading { epoch, cursor, unlogged: HashSet::new(), shown, users });
    }

    pub(super) fn event(&mut self, client: usize, frame: &Frame<'_>) {
        let id = Id::parse(frame.event_id.expect("an id")).expect("an id");
        let kind = self.spec.event(frame.event.expect("a name")).expect("it is declared");
        let filter = self.clients[client].filter;
        assert!(filter.contains(kind), "an event that the client doesn't want");
        let Some(mut reading) = self.clients[client].reading.take() else {
            panic!("a client that isn't in the room gets an event");
        };
        match frame.seq {
            None => {
                assert!(self.unlogged.contains(&id), "an event that nobody published");
                assert!(reading.unlogged.insert(id), "an event twice");
            }
            Some(seq) => {
                assert_eq!(
                    self.truth.get(&id).map(|truth| truth.seq),
                    Some(seq),
                    "an event that isn't stored"
                );
                let before = self.truth.get(&id).and_then(|truth| truth.before);
                self.assert_nothing_missed(before, reading.cursor, filter);
                reading.cursor = Some(id);
                let (epoch, event_id) = (reading.epoch.clone(), id.to_string());
                self.clients[client].position = Some(Position { epoch, seq, event_id });
            }
        }
        self.clients[client].reading = Some(reading);
    }

    /// Walks the log back from `from` to `to`: the client may miss only what it didn't want, and `latest` events that
    /// a newer one replaced.
    pub(super) fn assert_nothing_missed(&self, mut from: Option<Id>, to: Option<Id>, filter: EventSet) {
        while from != to {
            let id = from.expect("the log doesn't continue what the client has");
            let truth = &self.truth[&id];
            let may_miss =
                !filter.contains(truth.kind) || (truth.kind == PRICE && self.is_replaced(id, truth));
            assert!(may_miss, "not delivered: {truth:?}");
            from = truth.before;
        }
    }

    /// Returns the users that the room's members take for present, by what they were sent.
    fn shown(&self) -> BTreeSet<Arc<str>> {
        self.core.presence.as_ref().map(|presence| presence.shown(&self.core.members)).unwrap_or_default()
    }

    /// Asserts that a member got the presence of all users who joined or left since, but for its own user.
    pub(super) fn assert_presence(&self, reading: &Reading, own: &Arc<str>) {
        let mut told = reading.shown.clone();
        for (user, is_in) in &reading.users {
            match is_in {
                true => _ = told.insert(user.as_str().into()),
                false => _ = told.remove(user.as_str()),
            }
        }
        let mut shown = self.shown();
        told.remove(own);
        shown.remove(own);
        assert_eq!(told, shown, "the users whom a member takes for present");
    }

    /// Returns whether a newer event of its key has replaced a price, in a history that it is in.
    fn is_replaced(&self, id: Id, price: &Truth) -> bool {
        let before = |id: &Id| self.truth.get(id).and_then(|truth| truth.before);
        self.truth.iter().any(|(newer, other)| {
            other.kind == PRICE
                && other.key == price.key
                && other.order > price.order
                && std::iter::successors(other.before, before).any(|other| other == id)
                && *newer != id
        })
    }
}

/// Splits the first whole text frame from bytes.
fn next_frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let [0x81, len, rest @ ..] = bytes else { return None };
    match (len, rest) {
        (126, [a, b, rest @ ..]) => rest.split_at_checked(usize::from(u16::from_be_bytes([*a, *b]))),
        (126, _) => None,
        _ => rest.split_at_checked(usize::from(*len)),
    }
}
