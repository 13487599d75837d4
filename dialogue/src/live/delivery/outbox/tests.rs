use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, Ordering},
    task::Wake,
    time::Duration,
};

use proptest::{collection::vec, prelude::*};
use serde_json::Value;
use tokio::time::Instant;

use super::{
    activity::{LAST_LOOK, LIVENESS_TIMEOUT},
    *,
};
use crate::{
    live::tests::{MESSAGE, PRICE, TYPING, frames, room},
    log::Record,
    room::RoomOptions,
};

const LIMIT: usize = 4_096;

fn frame(kind: &'static str, json: impl AsRef<[u8]>) -> EncodedFrame {
    EncodedFrame { kind, json: json.as_ref().to_vec() }
}

/// A socket that takes as many bytes as there is room for.
#[derive(Default)]
struct Line {
    wire: Mutex<Vec<u8>>,
    room: Mutex<usize>,
    gone: AtomicBool,
}

impl DirectWriter for Arc<Line> {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.gone.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let (mut room, mut wire) = (self.room.lock(), self.wire.lock());
        let offered = slices.iter().map(|slice| slice.len()).sum::<usize>();
        if *room == 0 && offered > 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let taken = offered.min(*room);
        *room -= taken;
        wire.extend(slices.iter().flat_map(|slice| slice.iter()).take(taken));
        Ok(taken)
    }
}

#[derive(Default)]
struct Alarm(AtomicBool);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A connection as a channel drives it: its task runs only when it was woken, or when its socket takes bytes again.
struct Connection {
    outbox: Arc<Outbox>,
    line: Arc<Line>,
    direct: bool,
    alarm: Arc<Alarm>,
    awaits_socket: bool,
    cut: Option<OutboxCloseReason>,
}

impl Connection {
    fn new(direct: bool, encoding: Encoding, positions: Vec<Box<str>>) -> Self {
        let line = Arc::new(Line::default());
        let socket = direct.then(|| Box::new(Arc::clone(&line)) as Box<dyn DirectWriter>);
        let outbox = Outbox::new(ConnectionId(1), encoding, LIMIT, socket, positions);
        let alarm = Arc::new(Alarm(AtomicBool::new(true)));
        Connection { outbox, line, direct, alarm, awaits_socket: false, cut: None }
    }

    /// Lets the socket take more bytes.
    fn drain(&mut self, bytes: usize) {
        *self.line.room.lock() += bytes;
        self.run();
    }

    fn run(&mut self) {
        let waker = Arc::clone(&self.alarm).into();
        let mut cx = Context::from_waker(&waker);
        while self.is_up() && self.cut.is_none() {
            self.alarm.0.store(false, Ordering::Relaxed);
            if self.direct { self.flush(&mut cx) } else { self.take(&mut cx) }
        }
    }

    fn is_up(&self) -> bool {
        let room = *self.line.room.lock() > 0;
        // A task that writes takes no more while its socket is full.
        if self.direct {
            self.alarm.0.load(Ordering::Relaxed) || (self.awaits_socket && room)
        } else {
            room && self.alarm.0.load(Ordering::Relaxed)
        }
    }

    fn flush(&mut self, cx: &mut Context<'_>) {
        if !self.awaits_socket && self.outbox.poll_writable_work(cx).is_pending() {
            return;
        }
        let progress = self.outbox.flush();
        self.awaits_socket = progress == FlushStatus::Blocked;
        match progress {
            FlushStatus::Closed(cut) => self.cut = Some(cut),
            // The task polls again before it sleeps.
            FlushStatus::Idle => self.alarm.0.store(true, Ordering::Relaxed),
            FlushStatus::Blocked => {}
        }
    }

    fn take(&mut self, cx: &mut Context<'_>) {
        let (mut taken, room) = (Vec::new(), *self.line.room.lock());
        match self.outbox.poll_take(cx, room, &mut taken) {
            Poll::Pending => {}
            Poll::Ready(Err(cut)) => self.cut = Some(cut),
            Poll::Ready(Ok(())) => {
                assert!(!taken.is_empty() && taken.iter().all(|bytes| !bytes.is_empty()));
                let size = taken.iter().map(Bytes::len).sum::<usize>();
                *self.line.room.lock() = room.saturating_sub(size);
                taken.iter().for_each(|bytes| self.line.wire.lock().extend_from_slice(bytes));
                self.alarm.0.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Ends the connection as a channel does; returns all frames that the client ever got.
    fn end(self) -> Vec<Value> {
        let rest = self.outbox.close_and_take_partial();
        self.outbox.send(&frame("late", b"{}"));
        let mut wire = std::mem::take(&mut *self.line.wire.lock());
        wire.extend_from_slice(rest.as_deref().unwrap_or_default());
        frames(&wire)
    }
}

/// An event or reply for the connection; its number is its place in the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Kept,
    Ephemeral,
    Latest(u8),
}

#[derive(Debug, Clone)]
enum Step {
    Deliver(Vec<(Sort, usize)>),
    Send(usize),
    Queue(usize),
    Nudge,
    Drain(usize),
}

/// The frames that were offered, to compare with those that came.
struct Offered {
    sorts: Vec<Sort>,
    seq: u64,
}

impl Offered {
    fn json(&mut self, sort: Sort, pad: usize) -> Bytes {
        self.sorts.push(sort);
        format!(r#"{{"n":{},"pad":"{:pad$}"}}"#, self.sorts.len() - 1, "").into()
    }

    fn batch(&mut self, events: &[(Sort, usize)]) -> Batch {
        let mut batch =
            Batch::new(Arc::new(room("chat", false, RoomOptions::new())), "chat".into(), "e".into());
        for (sort, pad) in events {
            let json = self.json(*sort, *pad);
            let (event, conflated) = match sort {
                Sort::Kept => (MESSAGE, None),
                Sort::Ephemeral => (TYPING, None),
                Sort::Latest(key) => (PRICE, Some(key.to_string().into())),
            };
            let seq = (event != TYPING).then(|| {
                self.seq += 1;
                self.seq
            });
            batch.push(Arc::new(Record {
                seq,
                event,
                event_id: crate::wire::Id::fresh(),
                timestamp: 0,
                digest: None,
                conflated,
                json,
            }));
        }
        batch
    }

    /// Checks the frames of a client that was never disconnected.
    fn check(&self, got: &[Value]) {
        let numbers: Vec<usize> =
            got.iter().filter_map(|frame| frame["n"].as_u64()).map(|n| n as usize).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "out of order or twice: {numbers:?}");
        let came: BTreeSet<_> = numbers.into_iter().collect();
        let skipped: u64 = got
            .iter()
            .filter(|frame| frame["type"] == "skipped")
            .filter_map(|frame| frame["count"].as_u64())
            .sum();
        let mut missing = 0;
        let mut newest = BTreeMap::new();
        for (n, sort) in self.sorts.iter().enumerate() {
            match sort {
                Sort::Kept => assert!(came.contains(&n), "{n} is missing"),
                Sort::Ephemeral => missing += u64::from(!came.contains(&n)),
                Sort::Latest(key) => drop(newest.insert(key, n)),
            }
        }
        assert_eq!(missing, skipped, "skipped and announced");
        assert!(newest.values().all(|n| came.contains(n)), "the newest of {newest:?} is missing");
    }

    /// Checks the frames of a client before it was disconnected: none is missing but at the end.
    fn check_beginning(&self, got: &[Value]) {
        let end = got.iter().filter_map(|frame| frame["n"].as_u64()).max().map_or(0, |n| n as usize + 1);
        let came: BTreeSet<_> = got.iter().filter_map(|frame| frame["n"].as_u64()).collect();
        let kept = self.sorts.iter().take(end).enumerate().filter(|(_, sort)| **sort == Sort::Kept);
        kept.for_each(|(n, _)| assert!(came.contains(&(n as u64)), "{n} is missing"));
    }
}

fn sort() -> impl Strategy<Value = Sort> {
    prop_oneof![Just(Sort::Kept), Just(Sort::Ephemeral), (0..3_u8).prop_map(Sort::Latest)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => vec((sort(), 0..200_usize), 1..6).prop_map(Step::Deliver),
        1 => (0..200_usize).prop_map(Step::Send),
        1 => (0..200_usize).prop_map(Step::Queue),
        1 => Just(Step::Nudge),
        3 => (1..1_200_usize).prop_map(Step::Drain),
        1 => Just(Step::Drain(1 << 20)),
    ]
}

/// Runs the steps; after each one, nothing may be queued for which neither the socket nor a wake-up is due.
fn play(direct: bool, steps: Vec<Step>) -> (Connection, Offered) {
    let mut connection = Connection::new(direct, Encoding::WebSocket, Vec::new());
    let mut offered = Offered { sorts: Vec::new(), seq: 0 };
    let outbox = Arc::clone(&connection.outbox);
    connection.run();
    let mut settled = true;
    for step in steps {
        // A queued frame goes with the next one that is sent.
        settled = !matches!(step, Step::Queue(_)) && (settled || !matches!(step, Step::Drain(_)));
        match step {
            Step::Deliver(events) => {
                outbox.deliver(StreamSlot::default(), &offered.batch(&events), EventSet::ALL)
            }
            Step::Send(pad) => outbox.send(&frame("reply", offered.json(Sort::Kept, pad))),
            Step::Queue(pad) => outbox.queue(&frame("reply", offered.json(Sort::Kept, pad))),
            Step::Nudge => outbox.flush_queued(),
            Step::Drain(bytes) => connection.drain(bytes),
        }
        connection.run();
        // Bytes that were queued onto an empty queue don't count.
        let page = outbox.queue.lock().page;
        let counted = outbox.queued_bytes().saturating_sub(page);
        assert!(counted <= LIMIT || outbox.queue.lock().close_reason.is_some(), "no bound");
        let room = *connection.line.room.lock();
        if connection.cut.is_some() {
            break;
        }
        if settled && room > 0 {
            assert_eq!(outbox.queued_bytes(), 0, "nobody was woken");
        }
    }
    (connection, offered)
}

fn comes_whole_and_in_order(direct: bool, steps: Vec<Step>) {
    let (mut connection, offered) = play(direct, steps);
    if connection.cut.is_none() {
        connection.outbox.flush_queued();
        connection.drain(1 << 30);
    }
    if connection.cut.is_none() {
        assert_eq!(connection.outbox.queued_bytes(), 0);
        offered.check(&connection.end());
    } else {
        assert_eq!(connection.cut, Some(OutboxCloseReason::TooSlow));
        offered.check_beginning(&connection.end());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_socket_gets_whole_frames_in_order(steps in vec(step(), 1..60)) {
        comes_whole_and_in_order(true, steps);
    }

    #[test]
    fn a_task_takes_whole_frames_in_order(steps in vec(step(), 1..60)) {
        comes_whole_and_in_order(false, steps);
    }

    #[test]
    fn a_connection_that_ends_at_any_point_completes_its_frame(direct: bool, steps in vec(step(), 1..30)) {
        let (connection, offered) = play(direct, steps);
        offered.check_beginning(&connection.end());
    }
}

#[test]
fn many_replies_to_a_client_that_reads_are_no_reason_to_disconnect() {
    let mut connection = Connection::new(true, Encoding::WebSocket, Vec::new());
    connection.drain(1 << 20);
    (0..100).for_each(|n| {
        connection.outbox.queue(&frame("ok", format!(r#"{{"n":{n},"pad":"{:100}"}}"#, "").as_bytes()))
    });
    connection.outbox.flush_queued();
    connection.run();
    assert_eq!((connection.cut.clone(), connection.end().len()), (None, 100));
}

#[test]
fn nothing_follows_the_rest_of_the_last_frame() {
    let mut connection = Connection::new(true, Encoding::WebSocket, Vec::new());
    connection.drain(5);
    connection.outbox.send(&frame("reply", br#"{"n":0}"#));
    connection.outbox.send(&frame("reply", br#"{"n":1}"#));
    let rest = connection.outbox.close_and_take_partial();
    *connection.line.room.lock() = 1_000;
    connection.outbox.send(&frame("reply", br#"{"n":2}"#));
    connection.outbox.deliver(
        StreamSlot::default(),
        &Offered { sorts: Vec::new(), seq: 0 }.batch(&[(Sort::Kept, 0)]),
        EventSet::ALL,
    );
    assert_eq!((rest.map(|rest| rest.len()), connection.line.wire.lock().len()), (Some(4), 5));
}

#[test]
fn a_broken_socket_is_closed_once() {
    let mut connection = Connection::new(true, Encoding::WebSocket, Vec::new());
    connection.run();
    connection.line.gone.store(true, Ordering::Relaxed);
    connection.outbox.send(&frame("reply", b"{}"));
    connection.outbox.close(OutboxCloseReason::TooSlow);
    connection.run();
    assert_eq!(connection.cut, Some(OutboxCloseReason::Disconnected));
}

/// Returns the text sent to a stream of `chat` (durable and conflated events) and `feed`.
fn stream(connection: Connection) -> String {
    String::from_utf8(std::mem::take(&mut *connection.line.wire.lock())).expect("a stream is text")
}

#[test]
fn each_numbered_event_of_a_stream_has_its_id() {
    let mut connection = Connection::new(false, Encoding::Sse, vec!["".into(), "feed=f.7.x".into()]);
    let mut offered = Offered { sorts: Vec::new(), seq: 0 };
    let events = [(Sort::Kept, 0), (Sort::Latest(1), 0), (Sort::Ephemeral, 0)];
    connection.outbox.deliver(StreamSlot::default(), &offered.batch(&events), EventSet::ALL);
    connection.drain(1 << 20);
    let stream = stream(connection);
    let fields: Vec<_> = stream.split("\n\n").map(|block| block.lines().collect::<Vec<_>>()).collect();
    let [kept, latest, ephemeral, _] = fields.as_slice() else { panic!("three blocks: {stream}") };
    assert!(kept[0].starts_with("id: chat=e.1.") && kept[0].ends_with(";feed=f.7.x"), "{stream}");
    assert!(latest[0].starts_with("id: chat=e.2.") && latest[1] == "event: price", "{stream}");
    assert_eq!(ephemeral[0], "event: typing");
}

#[test]
fn in_a_stalled_stream_a_newer_event_replaces_the_older_with_its_id() {
    let mut connection = Connection::new(false, Encoding::Sse, vec!["".into()]);
    let mut offered = Offered { sorts: Vec::new(), seq: 0 };
    let price = [(Sort::Latest(1), 0)];
    (0..3).for_each(|_| {
        connection.outbox.deliver(StreamSlot::default(), &offered.batch(&price), EventSet::ALL)
    });
    connection.drain(1 << 20);
    let stream = stream(connection);
    assert_eq!(stream.matches("id: chat=e.").count(), 1, "{stream}");
    assert!(stream.starts_with("id: chat=e.3.") && stream.contains(r#"{"n":2,"#), "{stream}");
}

#[test]
fn what_is_queued_before_joined_is_not_conflated_with_what_follows() {
    let mut connection = Connection::new(false, Encoding::Sse, vec!["".into()]);
    let mut offered = Offered { sorts: Vec::new(), seq: 0 };
    let price = offered.batch(&[(Sort::Latest(1), 0)]);
    let later = offered.batch(&[(Sort::Kept, 0)]);
    connection.outbox.deliver(StreamSlot::default(), &price, EventSet::ALL);
    connection.outbox.deliver(StreamSlot::default(), &later, EventSet::ALL);
    let joined = frame("joined", b"{}");
    connection.outbox.send_joined(&joined, "chat", StreamSlot::default(), "chat=e.0.".into());
    // The replay has the price again. A client that is cut off before it has the position of the event between.
    connection.outbox.deliver_page(StreamSlot::default(), &price, EventSet::ALL);
    connection.drain(1 << 20);
    let stream = stream(connection);
    assert_eq!(stream.matches("event: price").count(), 2, "{stream}");
}

#[test]
fn a_client_that_stalls_for_long_costs_bounded_memory() {
    let stalled: Vec<_> = (0..5_000).map(|n| Step::Deliver(vec![(Sort::Latest(n as u8 % 3), 9)])).collect();
    for direct in [true, false] {
        let (mut connection, offered) = play(direct, stalled.clone());
        assert!(connection.outbox.queue.lock().items.len() < 200);
        connection.drain(1 << 30);
        offered.check(&connection.end());
    }
}

#[test]
fn pages_of_several_rooms_and_positions_of_a_stream_dont_count_as_too_slow() {
    let mut connection = Connection::new(true, Encoding::WebSocket, Vec::new());
    let mut offered = Offered { sorts: Vec::new(), seq: 0 };
    for _ in 0..4 {
        connection.outbox.deliver_page(
            StreamSlot::default(),
            &offered.batch(&[(Sort::Kept, 3_000)]),
            EventSet::ALL,
        );
        connection.outbox.send_page(&frame("history", [b' '; 3_000]));
    }
    connection.run();
    assert_eq!(connection.cut, None);

    let other_room: Box<str> = format!("{}=e.1.x", "r".repeat(120)).into();
    let mut connection = Connection::new(false, Encoding::Sse, vec![other_room; 16]);
    let mut offered = Offered { sorts: Vec::new(), seq: 0 };
    (0..10).for_each(|_| {
        connection.outbox.deliver(StreamSlot::default(), &offered.batch(&[(Sort::Kept, 0)]), EventSet::ALL)
    });
    connection.drain(1 << 20);
    assert_eq!((connection.cut.clone(), stream(connection).matches("\nevent: ").count()), (None, 10));
}

#[test]
fn bytes_that_a_client_had_no_time_to_read_are_no_reason_to_disconnect() {
    let frames = || {
        let mut bytes = Vec::new();
        let json = format!("{{\"pad\":\"{:100}\"}}", "");
        (0..100).for_each(|_| Encoding::WebSocket.put_frame(&mut bytes, &frame("presence", json.as_bytes())));
        [Bytes::from(bytes)]
    };
    for direct in [true, false] {
        let mut connection = Connection::new(direct, Encoding::WebSocket, Vec::new());
        connection.drain(if direct { 1 << 20 } else { 0 });
        connection.outbox.send_raw(frames());
        connection.drain(1 << 20);
        connection.outbox.send_raw(frames());
        connection.run();
        assert_eq!((connection.cut.clone(), connection.end().len()), (None, 200), "direct: {direct}");

        let mut stalled = Connection::new(direct, Encoding::WebSocket, Vec::new());
        (0..2).for_each(|_| stalled.outbox.send_raw(frames()));
        stalled.run();
        stalled.drain(1 << 20);
        assert_eq!(stalled.cut, Some(OutboxCloseReason::TooSlow), "direct: {direct}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_waits_is_timed_from_the_last_progress() {
    const WHILE: Duration = Duration::from_secs(7);
    let mut connection = Connection::new(true, Encoding::WebSocket, Vec::new());
    assert_eq!(connection.outbox.stalled_for(), None);
    connection.outbox.send(&frame("pong", b"{}"));
    tokio::time::advance(WHILE).await;
    connection.outbox.send(&frame("pong", b"{}"));
    assert_eq!(connection.outbox.stalled_for(), Some(WHILE));
    connection.drain(3);
    assert_eq!(connection.outbox.stalled_for(), Some(Duration::ZERO));
    connection.drain(LIMIT);
    assert_eq!(connection.outbox.stalled_for(), None);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_in_time_is_responsive() {
    let connection = Connection::new(true, Encoding::WebSocket, Vec::new());
    let asked = Instant::now();
    assert!(connection.outbox.is_unresponsive().await);
    assert_eq!(asked.elapsed(), LIVENESS_TIMEOUT + LAST_LOOK);
    // The second response came in time, and is read by a machine that looks at its deadline first.
    for read_after in [LIVENESS_TIMEOUT / 2, LIVENESS_TIMEOUT] {
        let answering = async {
            tokio::time::sleep(read_after).await;
            connection.outbox.note_read();
        };
        assert!(!tokio::join!(connection.outbox.is_unresponsive(), answering).0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_with_a_stalled_write_is_unresponsive() {
    let stream = Connection::new(false, Encoding::Sse, Vec::new());
    stream.outbox.send(&frame("ping", b"{}"));
    tokio::time::advance(LIVENESS_TIMEOUT / 2).await;
    let asked = Instant::now();
    assert!(stream.outbox.is_unresponsive().await);
    assert_eq!(asked.elapsed(), LIVENESS_TIMEOUT / 2);
    let other = Connection::new(false, Encoding::Sse, Vec::new());
    let taking = async {
        tokio::time::sleep(LIVENESS_TIMEOUT / 2).await;
        other.outbox.note_handed();
        other.outbox.note_written();
    };
    assert!(!tokio::join!(other.outbox.is_unresponsive(), taking).0);
}
