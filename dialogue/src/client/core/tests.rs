use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
};

use serde_json::{Value, json};

use super::*;
use crate::wire::request::{Raw, Subscribe, Trigger};

const SECOND: Duration = Duration::from_secs(1);

fn config() -> Config {
    Config {
        max_pending: 4,
        deadline: 30 * SECOND,
        backoff: (SECOND, 8 * SECOND),
        connect_timeout: 15 * SECOND,
        idle: 25 * SECOND,
        pong_timeout: 10 * SECOND,
        eager: false,
        token: TokenSource::None,
        seed: 1,
    }
}

/// A core with a virtual clock, and a record of its actions.
struct Bench {
    core: Core,
    now: Duration,
    sent: Vec<Value>,
    answers: BTreeMap<Ticket, Result<Reply, Error>>,
    opened: usize,
    disconnects: usize,
    status: Option<Status>,
}

impl Bench {
    fn new(config: Config) -> Self {
        Bench {
            core: Core::new(config),
            now: Duration::ZERO,
            sent: vec![],
            answers: BTreeMap::new(),
            opened: 0,
            disconnects: 0,
            status: None,
        }
    }

    fn online(config: Config) -> Self {
        let mut bench = Bench::new(config);
        bench.core.start(bench.now);
        bench.welcome();
        bench
    }

    /// A core that has joined `chat` at seq 5, with a buffer of `events`.
    fn joined(events: usize) -> (Self, Arc<RoomBuffer>) {
        Bench::joined_with(config(), events)
    }

    fn joined_with(config: Config, events: usize) -> (Self, Arc<RoomBuffer>) {
        let mut bench = Bench::online(config);
        let buffer = bench.join("chat", events, None, 1);
        bench.reply(
            json!({"type":"joined","roomId":"chat","epoch":"e","seq":5,"eventId":"id5","resume":"fresh"}),
        );
        assert!(matches!(bench.answers.remove(&1), Some(Ok(Reply::Joined(_)))));
        (bench, buffer)
    }

    fn join(
        &mut self,
        room: &str,
        events: usize,
        since: Option<Position>,
        ticket: Ticket,
    ) -> Arc<RoomBuffer> {
        let buffer = Arc::new(RoomBuffer::new(events, 1 << 20));
        let default = BTreeSet::from(["message".to_owned()]);
        let joining = Joining { room: room.into(), events: None, default, since, buffer: buffer.clone() };
        self.core.join(self.now, joining, ticket);
        self.act();
        buffer
    }

    fn trigger(&mut self, class: RetryClass, key: &str, ticket: Ticket) {
        let request = Trigger {
            room_id: "chat".into(),
            event: "message".into(),
            data: Raw::of(key).unwrap(),
            key: Some(key.to_owned().into()),
            meta: None,
        };
        self.core.request(self.now, Some("chat".into()), class, request.into(), ticket);
        self.act();
    }

    fn act(&mut self) {
        while let Some(action) = self.core.poll() {
            match action {
                Action::Open => self.opened += 1,
                Action::Disconnect => self.disconnects += 1,
                Action::Transmit(text) => self.sent.push(serde_json::from_str(&text).unwrap()),
                Action::Ping => self.sent.push(json!("ping")),
                Action::Resolve(ticket, answer) => assert!(self.answers.insert(ticket, answer).is_none()),
                Action::Status(status) => self.status = Some(status),
            }
        }
    }

    fn frame(&mut self, frame: Value) {
        self.core.text(self.now, &frame.to_string());
        self.act();
    }

    /// Answers the last sent frame.
    fn reply(&mut self, mut frame: Value) {
        frame["id"] = self.sent.last().unwrap()["id"].clone();
        self.frame(frame);
    }

    fn welcome(&mut self) {
        self.act();
        self.frame(
            json!({"type":"connected","clientId":"c","userId":"u","protocol":1,"anonymousToken":"anon"}),
        );
    }

    fn lost(&mut self, code: u16) {
        self.core.lost(self.now, Loss::Closed(Some(code)));
        self.act();
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.core.tick(self.now);
        self.act();
    }

    /// Advances the clock to the next attempt, and connects.
    fn reconnect(&mut self) {
        self.pass(9 * SECOND);
        self.welcome();
    }

    fn event(&mut self, seq: u64) {
        self.frame(event(seq, &format!("id{seq}")));
    }

    fn kinds(&self) -> Vec<&str> {
        self.sent.iter().map(|frame| frame["type"].as_str().unwrap_or("ping")).collect()
    }

    fn kind(&self, ticket: Ticket) -> Option<ErrorKind> {
        self.answers.get(&ticket).and_then(|answer| answer.as_ref().err()).map(Error::kind)
    }
}

fn event(seq: u64, id: &str) -> Value {
    json!({"type":"event","roomId":"chat","event":"message","data":seq,"from":"a","timestamp":1,"eventId":id,"seq":seq})
}

fn typing() -> Value {
    json!({"type":"event","roomId":"chat","event":"typing","data":true,"from":"a","timestamp":1,"eventId":"x"})
}

fn take(buffer: &RoomBuffer) -> Option<Result<Option<BufferedItem>, Interruption>> {
    match buffer.poll_take(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(item) => Some(item),
        Poll::Pending => None,
    }
}

fn seqs(buffer: &RoomBuffer) -> Vec<u64> {
    std::iter::from_fn(|| match take(buffer)? {
        Ok(Some(BufferedItem::Event(event_frame))) => event_frame.seq,
        _ => None,
    })
    .collect()
}

#[test]
fn a_room_is_joined_again_from_the_last_event_that_came() {
    let (mut bench, buffer) = Bench::joined(10);
    bench.event(6);
    bench.lost(1006);
    bench.reconnect();
    let join = bench.sent.last().unwrap();
    assert_eq!(join["since"], json!({"epoch":"e","seq":6,"eventId":"id6"}));
    bench.reply(
        json!({"type":"joined","roomId":"chat","epoch":"e","seq":7,"eventId":"id7","resume":"complete"}),
    );
    bench.event(6);
    bench.event(7);
    assert_eq!(seqs(&buffer), [6]);
    assert_eq!(seqs(&buffer), [7]);
    assert_eq!(buffer.position().seq, 7);
}

#[test]
fn a_lost_resume_comes_in_its_place_among_the_events() {
    let (mut bench, buffer) = Bench::joined(10);
    bench.event(6);
    bench.lost(1006);
    bench.reconnect();
    bench.reply(json!({"type":"joined","roomId":"chat","epoch":"f","seq":2,"eventId":"b2","resume":"lost"}));
    bench.event(3);
    assert!(matches!(take(&buffer), Some(Ok(Some(BufferedItem::Event(_))))));
    let Some(Ok(Some(BufferedItem::Lost(lost)))) = take(&buffer) else { panic!("no loss") };
    assert_eq!((lost.since.seq, lost.head.seq, lost.head.epoch.as_str()), (6, 2, "f"));
    assert_eq!(seqs(&buffer), [3]);
}

#[test]
fn complete_in_another_epoch_is_a_loss() {
    let mut bench = Bench::online(config());
    let since = Position { epoch: "old".to_owned(), seq: 3, event_id: String::new() };
    let buffer = bench.join("chat", 10, Some(since), 1);
    bench.reply(
        json!({"type":"joined","roomId":"chat","epoch":"e","seq":5,"eventId":"i","resume":"complete"}),
    );
    assert!(matches!(take(&buffer), Some(Ok(Some(BufferedItem::Lost(_))))));
}

#[test]
fn a_reused_seq_triggers_a_rejoin() {
    let (mut bench, buffer) = Bench::joined(10);
    bench.event(6);
    bench.event(6);
    assert_eq!(bench.kinds(), ["join"]);
    bench.frame(event(6, "other"));
    assert_eq!(bench.kinds(), ["join", "join"]);
    assert_eq!(bench.sent[1]["since"]["eventId"], "id6");
    assert_eq!(seqs(&buffer), [6]);
}

#[test]
fn a_full_buffer_rejoins_when_it_has_space() {
    let (mut bench, buffer) = Bench::joined(2);
    for seq in 6..10 {
        bench.event(seq);
    }
    bench.core.check_readers(bench.now);
    assert_eq!(bench.kinds(), ["join"]);
    assert_eq!(seqs(&buffer), [6, 7]);
    bench.core.check_readers(bench.now);
    bench.act();
    assert_eq!(bench.sent[1]["since"]["seq"], 7);
    bench.event(10);
    bench.reply(
        json!({"type":"joined","roomId":"chat","epoch":"e","seq":10,"eventId":"id10","resume":"complete"}),
    );
    bench.event(8);
    assert!(matches!(take(&buffer), Some(Ok(Some(BufferedItem::Rejoined(_))))));
    assert_eq!(seqs(&buffer), [8]);
}

#[test]
fn reading_pauses_while_the_reader_is_behind() {
    let (mut bench, buffer) = Bench::joined(2);
    bench.event(6);
    assert!(!bench.core.update_read_pause(bench.now));
    bench.event(7);
    assert!(bench.core.update_read_pause(bench.now) && !buffer.needs_wake());
    assert!(matches!(take(&buffer), Some(Ok(Some(BufferedItem::Event(_))))));
    assert!(buffer.needs_wake());
    bench.core.check_readers(bench.now);
    assert!(!bench.core.update_read_pause(bench.now));
    bench.event(8);
    assert!(bench.core.update_read_pause(bench.now));
    assert_eq!((seqs(&buffer), bench.kinds()), (vec![7, 8], vec!["join"]));
}

#[test]
fn a_full_room_delays_no_response_and_no_other_room() {
    let (mut bench, _chat) = Bench::joined(1);
    bench.event(6);
    bench.trigger(RetryClass::Durable, "k", 2);
    assert!(!bench.core.update_read_pause(bench.now));
    bench.reply(json!({"type":"ok","seq":7,"eventId":"id7","timestamp":1}));
    assert!(bench.core.update_read_pause(bench.now));
    let _project = bench.join("project:1", 1, None, 3);
    assert!(!bench.core.update_read_pause(bench.now), "the join is not answered");
    bench.reply(
        json!({"type":"joined","roomId":"project:1","epoch":"e","seq":0,"eventId":"","resume":"fresh"}),
    );
    assert!(!bench.core.update_read_pause(bench.now), "there may be events for the other room");
    let mut other = event(1, "id1");
    other["roomId"] = json!("project:1");
    bench.frame(other);
    assert!(bench.core.update_read_pause(bench.now));
}

#[test]
fn an_inactive_reader_pauses_reading_for_a_bounded_time() {
    let (mut bench, buffer) = Bench::joined(2);
    bench.event(6);
    bench.event(7);
    assert!(bench.core.update_read_pause(bench.now));
    bench.pass(UNREAD_PING_INTERVAL);
    assert!(bench.core.update_read_pause(bench.now));
    assert_eq!(bench.core.timeout(), Some(bench.now + SLOW_READER_TIMEOUT - UNREAD_PING_INTERVAL));
    bench.pass(SLOW_READER_TIMEOUT - UNREAD_PING_INTERVAL);
    assert!(!bench.core.update_read_pause(bench.now));
    bench.event(8);
    assert!(!bench.core.update_read_pause(bench.now) && buffer.overflowed());
    assert_eq!(seqs(&buffer), [6, 7]);
    bench.core.check_readers(bench.now);
    bench.act();
    assert_eq!(bench.sent.last().unwrap()["since"]["seq"], 7);
}

#[test]
fn a_paused_connection_is_kept_alive() {
    let mut config = config();
    // The server's idle timeout is shorter than this.
    config.idle = 300 * SECOND;
    let (mut bench, buffer) = Bench::joined_with(config, 10);
    (6..16).for_each(|seq| bench.event(seq));
    for _ in 0..4 {
        assert!(bench.core.update_read_pause(bench.now));
        assert_eq!(bench.core.timeout(), Some(bench.now + UNREAD_PING_INTERVAL));
        bench.pass(UNREAD_PING_INTERVAL);
        assert!(matches!(take(&buffer), Some(Ok(Some(BufferedItem::Event(_))))));
    }
    assert_eq!((bench.kinds(), bench.disconnects), (vec!["join", "ping", "ping", "ping", "ping"], 0));
    seqs(&buffer);
    assert!(!bench.core.update_read_pause(bench.now));
    bench.core.received(bench.now);
    bench.pass(299 * SECOND);
    assert_eq!((bench.sent.len(), bench.disconnects), (5, 0), "the pong timeout starts over");
}

#[test]
fn a_connection_that_died_while_paused_is_lost_after_reading_resumes() {
    let (mut bench, buffer) = Bench::joined(10);
    (6..16).for_each(|seq| bench.event(seq));
    assert!(bench.core.update_read_pause(bench.now));
    bench.pass(UNREAD_PING_INTERVAL);
    seqs(&buffer);
    assert!(!bench.core.update_read_pause(bench.now));
    // The pong would have been read by now.
    assert_eq!(bench.core.timeout(), Some(bench.now + 10 * SECOND));
    bench.pass(10 * SECOND);
    assert_eq!(bench.disconnects, 1);
}

#[test]
fn a_short_keep_alive_applies_to_a_paused_connection() {
    let mut config = config();
    config.idle = 2 * SECOND;
    let (mut bench, _buffer) = Bench::joined_with(config, 1);
    bench.event(6);
    assert!(bench.core.update_read_pause(bench.now));
    assert_eq!(bench.core.timeout(), Some(bench.now + 2 * SECOND));
    bench.pass(2 * SECOND);
    assert_eq!(bench.kinds(), ["join", "ping"]);
}

#[test]
fn an_unanswered_ping_does_not_drop_a_paused_connection() {
    let (mut bench, _buffer) = Bench::joined(1);
    bench.pass(25 * SECOND);
    assert_eq!(bench.kinds(), ["join", "ping"]);
    // The pong is queued behind an event that fills the buffer.
    bench.event(6);
    assert!(bench.core.update_read_pause(bench.now));
    bench.pass(9 * SECOND);
    bench.pass(9 * SECOND);
    assert_eq!((bench.kinds(), bench.disconnects), (vec!["join", "ping", "ping", "ping"], 0));
}

#[test]
fn an_overflowed_event_is_requested_when_its_bytes_fit() {
    let mut bench = Bench::online(config());
    let buffer = Arc::new(RoomBuffer::new(1_000, 10_000));
    let joining = Joining {
        room: "chat".into(),
        events: None,
        default: BTreeSet::new(),
        since: None,
        buffer: buffer.clone(),
    };
    bench.core.join(bench.now, joining, 1);
    bench.act();
    bench
        .reply(json!({"type":"joined","roomId":"chat","epoch":"e","seq":5,"eventId":"id5","resume":"fresh"}));
    for seq in 6..106 {
        let mut large = event(seq, &format!("id{seq}"));
        large["data"] = json!("x".repeat(600));
        bench.frame(large);
        bench.core.check_readers(bench.now);
    }
    assert!(buffer.overflowed());
    assert_eq!(bench.kinds(), ["join"]);
    let mut left = 100;
    while !buffer.can_resume() {
        left = 100 - 1 - buffer.taken_count();
        take(&buffer);
    }
    assert!(left > 80, "it held no more than 10,000 bytes");
    bench.core.check_readers(bench.now);
    bench.act();
    assert_eq!(bench.kinds(), ["join", "join"]);
}

#[test]
fn ephemeral_events_that_do_not_fit_are_counted() {
    let (mut bench, buffer) = Bench::joined(1);
    bench.event(6);
    bench.frame(typing());
    bench.frame(json!({"type":"skipped","roomId":"chat","count":3}));
    assert!(matches!(take(&buffer), Some(Ok(Some(BufferedItem::Skipped(4))))));
    assert_eq!(seqs(&buffer), [6]);
    assert!(!buffer.overflowed());
}

#[test]
fn an_unanswered_send_is_retried_with_its_key_and_resolved_once() {
    let (mut bench, _buffer) = Bench::joined(10);
    bench.trigger(RetryClass::Durable, "k", 2);
    let first = bench.sent.last().unwrap().clone();
    bench.lost(1006);
    bench.reconnect();
    bench.reply(
        json!({"type":"joined","roomId":"chat","epoch":"e","seq":6,"eventId":"i","resume":"complete"}),
    );
    assert_eq!(bench.sent.last().unwrap(), &first);
    let ok = json!({"type":"ok","seq":6,"eventId":"i","timestamp":1,"duplicate":true});
    bench.reply(ok.clone());
    assert!(matches!(&bench.answers[&2], Ok(Reply::Accepted(accepted)) if accepted.duplicate));
    bench.reply(ok);
}

#[test]
fn the_offline_queue_is_bounded_and_holds_no_ephemeral_event() {
    let (mut bench, _buffer) = Bench::joined(10);
    bench.lost(1006);
    for ticket in 2..7 {
        bench.trigger(RetryClass::Durable, "k", ticket);
    }
    bench.trigger(RetryClass::Ephemeral, "t", 7);
    assert_eq!(bench.kind(6), Some(ErrorKind::QueueFull));
    assert_eq!(bench.kind(7), Some(ErrorKind::Offline));
    assert_eq!(bench.answers.len(), 2);
}

#[test]
fn sends_go_out_in_their_order_and_expire_at_their_deadline() {
    let (mut bench, _buffer) = Bench::joined(10);
    bench.lost(1006);
    bench.trigger(RetryClass::Durable, "a", 2);
    bench.pass(10 * SECOND);
    bench.trigger(RetryClass::Durable, "b", 3);
    bench.pass(20 * SECOND);
    assert_eq!((bench.kind(2), bench.kind(3)), (Some(ErrorKind::Deadline), None));
    bench.pass(10 * SECOND);
    assert_eq!(bench.kind(3), Some(ErrorKind::Deadline));
}

#[test]
fn a_rate_limited_send_delays_later_sends_of_its_room() {
    let (mut bench, _buffer) = Bench::joined(10);
    bench.trigger(RetryClass::Durable, "a", 2);
    bench.reply(json!({"type":"error","code":"RATE_LIMITED","message":"slow down","retryAfterMs":500}));
    bench.trigger(RetryClass::Durable, "b", 3);
    assert_eq!(bench.kinds(), ["join", "trigger"]);
    bench.pass(2 * SECOND);
    let keys: Vec<_> = bench.sent.iter().filter_map(|frame| frame["key"].as_str()).collect();
    assert_eq!(keys, ["a", "a", "b"]);
}

#[test]
fn a_refusal_resolves_the_request() {
    let (mut bench, _buffer) = Bench::joined(10);
    bench.trigger(RetryClass::Durable, "a", 2);
    bench.reply(json!({"type":"error","code":"BLOCKED","message":"no spam"}));
    let Some(Err(error)) = bench.answers.get(&2) else { panic!("not refused") };
    assert_eq!(error.code(), Some(Code::Blocked));
    assert_eq!(error.to_string(), "the server refused: no spam");
}

#[test]
fn a_frame_over_the_limit_is_not_sent_again() {
    let (mut bench, _buffer) = Bench::joined(10);
    bench.trigger(RetryClass::Durable, "a", 2);
    bench.trigger(RetryClass::Durable, "a larger one", 3);
    bench.lost(1009);
    assert!(matches!(&bench.answers[&3], Err(error) if error.code() == Some(Code::TooLarge)));
    assert!(!bench.answers.contains_key(&2));
}

#[test]
fn the_client_reconnects_when_a_draining_server_asks() {
    let (mut bench, _buffer) = Bench::joined(10);
    bench.frame(json!({"type":"reconnect","afterMs":700}));
    bench.lost(1012);
    assert_eq!(bench.core.timeout(), Some(Duration::from_millis(700)));
    let (mut bench, _buffer) = Bench::joined(10);
    bench.frame(json!({"type":"reconnect","afterMs":700}));
    bench.pass(Duration::from_millis(700));
    assert_eq!((bench.disconnects, bench.opened), (1, 2));
}

#[test]
fn a_removed_client_stops_with_the_same_error_everywhere() {
    let (mut bench, buffer) = Bench::joined(10);
    bench.trigger(RetryClass::Durable, "a", 2);
    bench.lost(4403);
    assert_eq!(bench.kind(2), Some(ErrorKind::Removed));
    assert!(matches!(take(&buffer), Some(Err(Interruption::Ended(_)))));
    assert!(matches!(take(&buffer), Some(Ok(None))));
    assert!(matches!(bench.status, Some(Status::Stopped(_))));
    assert_eq!(bench.core.timeout(), None);
}

#[test]
fn a_rejected_token_is_renewed_a_few_times() {
    let mut bench = Bench::online(Config { token: TokenSource::Renewable, ..config() });
    for _ in 0..2 {
        bench.lost(4401);
        assert!(matches!(bench.status, Some(Status::Offline)));
        bench.pass(60 * SECOND);
    }
    bench.lost(4401);
    assert!(
        matches!(&bench.status, Some(Status::Stopped(error)) if error.kind() == ErrorKind::Unauthenticated)
    );
}

#[test]
fn a_rejected_anonymous_token_is_dropped() {
    let mut bench = Bench::online(config());
    assert_eq!(bench.core.anonymous_token().as_deref(), Some("anon"));
    bench.lost(1006);
    bench.pass(60 * SECOND);
    bench.core.lost(bench.now, Loss::Rejected { status: 401, refusal: None });
    bench.act();
    assert!(bench.core.anonymous_token().is_none());
    assert!(matches!(bench.status, Some(Status::Offline)));
}

/// An eager client with an open socket and a silent server.
fn unwelcomed(token: TokenSource) -> Bench {
    let mut bench = Bench::new(Config { eager: true, token, ..config() });
    bench.core.start(bench.now);
    bench.core.opened(bench.now);
    bench.act();
    bench
}

fn wants_token() -> Value {
    json!({"type":"error","code":"UNAUTHENTICATED","message":"show a token first: `auth`"})
}

#[test]
fn a_server_that_waits_for_a_token_is_detected() {
    let mut bench = unwelcomed(TokenSource::None);
    assert_eq!(bench.core.timeout(), Some(PROBE_DELAY));
    bench.pass(PROBE_DELAY);
    assert_eq!(bench.kinds(), ["leave"]);
    assert_eq!(bench.core.timeout(), Some(15 * SECOND));
    bench.reply(wants_token());
    let Some(Status::Stopped(error)) = &bench.status else { panic!("not stopped") };
    assert_eq!((error.kind(), error.code()), (ErrorKind::Unauthenticated, Some(Code::Unauthenticated)));
    assert!(error.to_string().contains("`.token(…)`"), "{error}");
    assert!(bench.disconnects > 0);
}

#[test]
fn a_server_that_sends_connected_is_not_probed() {
    let mut bench = unwelcomed(TokenSource::None);
    bench.welcome();
    bench.pass(SECOND);
    assert!(bench.sent.is_empty() && matches!(bench.status, Some(Status::Online(_))));
}

#[test]
fn a_late_connected_frame_is_accepted() {
    for answer in [
        json!({"type":"error","code":"ROOM_NOT_FOUND","message":"no room"}),
        json!({"type":"error","code":"RATE_LIMITED","message":"slower"}),
        json!({"type":"left","roomId":""}),
    ] {
        for welcome_first in [true, false] {
            let mut bench = unwelcomed(TokenSource::None);
            bench.pass(PROBE_DELAY);
            if welcome_first {
                bench.welcome();
            }
            bench.reply(answer.clone());
            if !welcome_first {
                bench.welcome();
            }
            assert!(matches!(bench.status, Some(Status::Online(_))), "{answer}");
            assert_eq!((bench.kinds().len(), bench.disconnects), (1, 0));
        }
    }
}

#[test]
fn a_token_that_the_server_does_not_receive_is_renewed() {
    let mut bench = unwelcomed(TokenSource::Renewable);
    for attempt in 1.. {
        bench.pass(PROBE_DELAY);
        bench.reply(wants_token());
        if attempt == MAX_TOKEN_ATTEMPTS {
            break;
        }
        assert!(matches!(bench.status, Some(Status::Offline)), "{attempt}");
        bench.pass(9 * SECOND);
        bench.core.opened(bench.now);
    }
    assert!(
        matches!(&bench.status, Some(Status::Stopped(error)) if error.code() == Some(Code::Unauthenticated))
    );
}

fn answered(bench: &mut Bench, status: u16, code: Option<Code>) {
    let refusal = code.map(|code| Refusal::new(code, "no"));
    bench.core.lost(bench.now, Loss::Rejected { status, refusal });
    bench.act();
}

#[test]
fn a_proxy_response_is_retried_after_a_first_connection() {
    for token in [TokenSource::None, TokenSource::Fixed, TokenSource::Renewable] {
        let mut bench = Bench::online(Config { token, eager: true, ..config() });
        bench.lost(1006);
        for status in [200, 301, 400, 401, 403, 404, 405, 410, 418, 429, 451, 502, 503] {
            bench.pass(60 * SECOND);
            answered(&mut bench, status, None);
            assert!(matches!(bench.status, Some(Status::Offline)), "{status}");
        }
        bench.pass(60 * SECOND);
        bench.welcome();
        assert!(matches!(bench.status, Some(Status::Online(_))));
    }
}

#[test]
fn a_proxy_response_does_not_count_as_a_rejected_token() {
    let mut bench = Bench::online(Config { token: TokenSource::Renewable, ..config() });
    bench.lost(1006);
    for code in [None; MAX_TOKEN_ATTEMPTS as usize].into_iter().chain([Some(Code::Unauthenticated)]) {
        bench.pass(60 * SECOND);
        answered(&mut bench, 401, code);
        assert!(matches!(bench.status, Some(Status::Offline)), "{code:?}");
    }
}

#[test]
fn a_response_of_dialogue_is_final() {
    for (status, code) in
        [(400, Code::InvalidRequest), (401, Code::Unauthenticated), (403, Code::PermissionDenied)]
    {
        let mut bench = Bench::online(Config { token: TokenSource::Fixed, ..config() });
        bench.lost(1006);
        bench.pass(60 * SECOND);
        answered(&mut bench, status, Some(code));
        assert!(
            matches!(&bench.status, Some(Status::Stopped(error)) if error.code() == Some(code)),
            "{status}"
        );
    }
}

#[test]
fn a_proxy_response_before_the_first_connection_is_an_error() {
    for (status, kind, text) in [
        (404, ErrorKind::Connect, "`404 Not Found`"),
        (403, ErrorKind::Connect, "`403 Forbidden`"),
        (401, ErrorKind::Unauthenticated, "`401 Unauthorized`"),
        (200, ErrorKind::Connect, "`200 OK`"),
    ] {
        let mut bench = unwelcomed(TokenSource::Fixed);
        answered(&mut bench, status, None);
        let Some(Status::Stopped(error)) = &bench.status else { panic!("not stopped") };
        assert_eq!(error.kind(), kind);
        let shown = error.to_string();
        assert!(shown.contains(text) && shown.contains("path") && shown.contains("proxy"), "{shown}");
    }
}

#[test]
fn a_silent_server_is_pinged_then_left() {
    let mut bench = Bench::online(config());
    bench.pass(25 * SECOND);
    assert_eq!(bench.sent, [json!("ping")]);
    bench.core.received(bench.now);
    bench.pass(25 * SECOND);
    bench.pass(10 * SECOND);
    assert_eq!((bench.sent.len(), bench.disconnects), (2, 1));
}

#[test]
fn only_the_first_attempt_of_an_eager_client_decides() {
    let mut bench = Bench::new(Config { eager: true, ..config() });
    bench.core.start(bench.now);
    bench.lost(1006);
    assert!(matches!(&bench.status, Some(Status::Stopped(error)) if error.kind() == ErrorKind::Connect));
}

#[test]
fn a_member_retries_a_full_room() {
    let (mut bench, buffer) = Bench::joined(10);
    bench.lost(1006);
    bench.reconnect();
    let full = json!({"type":"error","code":"ROOM_FULL","message":"full"});
    bench.reply(full.clone());
    bench.pass(9 * SECOND);
    assert_eq!(bench.kinds(), ["join", "join", "join"]);
    bench.pass(25 * SECOND);
    bench.core.received(bench.now);
    let join = bench.sent.iter().rfind(|frame| frame["type"] == "join").unwrap()["id"].clone();
    let mut full = full;
    full["id"] = join;
    bench.frame(full);
    assert!(matches!(take(&buffer), Some(Err(Interruption::Ended(_)))));
}

#[test]
fn a_dropped_reader_leaves() {
    let (mut bench, buffer) = Bench::joined(10);
    buffer.abandon();
    bench.core.check_readers(bench.now);
    bench.act();
    assert_eq!(bench.kinds(), ["join", "leave"]);
    bench.join("chat", 1, None, 9);
    assert_eq!(bench.kinds(), ["join", "leave", "join"]);
}

#[test]
fn subscriptions_are_kept_over_reconnects() {
    let (mut bench, _buffer) = Bench::joined(10);
    let request = Subscribe { room_id: "chat".into(), events: vec!["typing".into()] };
    bench.core.request(bench.now, Some("chat".into()), RetryClass::Idempotent, request.into(), 2);
    bench.act();
    bench.reply(json!({"type":"ok"}));
    bench.lost(1006);
    bench.reconnect();
    assert_eq!(bench.sent.last().unwrap()["events"], json!(["message", "typing"]));
}

#[test]
fn a_sync_comes_before_live_events_and_ends_at_the_head() {
    let (mut bench, buffer) = Bench::joined(10);
    bench.frame(
        json!({"type":"history","roomId":"chat","events":[event(3, "id3"), event(4, "id4")],"more":true}),
    );
    assert!(matches!(take(&buffer), Some(Ok(Some(BufferedItem::History(..))))));
    assert_eq!(buffer.position().seq, 3);
    assert!(matches!(take(&buffer), Some(Ok(Some(BufferedItem::History(..))))));
    assert_eq!(buffer.position().seq, 5);
}

#[test]
fn an_unreadable_frame_is_ignored() {
    let (mut bench, buffer) = Bench::joined(10);
    for text in
        ["", "[]", "{}", r#"{"type":"event"}"#, r#"{"type":"ok","id":"x"}"#, r#"{"type":"new","id":9}"#]
    {
        bench.core.text(bench.now, text);
    }
    bench.event(6);
    assert_eq!(seqs(&buffer), [6]);
}
