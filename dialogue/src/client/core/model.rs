//! A model test: a minimal server and a network that loses, repeats and delays frames. In every interleaving, the
//! reader receives the log exactly, and every send is accepted and resolved once.

use std::collections::HashMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::wire::request::{Raw, Trigger};

const SECOND: Duration = Duration::from_secs(1);

/// One step of the model.
#[derive(Debug, Clone, Copy)]
enum NetworkStep {
    Send,
    OtherUserSends,
    /// The server reads a frame.
    Up,
    /// The server reads a frame and refuses it as temporarily unavailable.
    Refuse,
    /// The client reads a frame.
    Down,
    /// The next frame to the client is duplicated.
    Twice,
    /// The connection is lost, with all frames in transit.
    Cut,
    Pass,
    Take,
}

fn network_step() -> impl Strategy<Value = NetworkStep> {
    use NetworkStep::*;
    prop_oneof![
        3 => Just(Send), 2 => Just(OtherUserSends), 5 => Just(Up), 1 => Just(Refuse), 6 => Just(Down),
        1 => Just(Twice), 1 => Just(Cut), 2 => Just(Pass), 2 => Just(Take),
    ]
}

struct World {
    core: Core,
    now: Duration,
    buffer: Arc<RoomBuffer>,
    up: VecDeque<Value>,
    down: VecDeque<Value>,
    connected: bool,
    member: bool,
    /// The room's log: the text of each event, in the order of `seq`.
    log: Vec<String>,
    keys: HashMap<String, usize>,
    sent: u64,
    answered: BTreeMap<Ticket, u64>,
    taken: Vec<(u64, String)>,
    refused: bool,
}

impl World {
    fn new() -> Self {
        let config = Config {
            max_pending: 1000,
            deadline: 100_000 * SECOND,
            backoff: (SECOND, SECOND),
            connect_timeout: 10 * SECOND,
            idle: 100_000 * SECOND,
            pong_timeout: SECOND,
            eager: false,
            token: TokenSource::None,
            seed: 3,
        };
        let mut world = World {
            core: Core::new(config),
            now: Duration::ZERO,
            buffer: Arc::new(RoomBuffer::new(3, 1 << 20)),
            up: VecDeque::new(),
            down: VecDeque::new(),
            connected: false,
            member: false,
            log: vec![],
            keys: HashMap::new(),
            sent: 0,
            answered: BTreeMap::new(),
            taken: vec![],
            refused: false,
        };
        let since = Some(Position { epoch: "e".to_owned(), seq: 0, event_id: String::new() });
        let (events, default, buffer) = (None, BTreeSet::new(), world.buffer.clone());
        world.core.join(world.now, Joining { room: "chat".into(), events, default, since, buffer }, 0);
        world.act();
        world
    }

    fn step(&mut self, what: NetworkStep) {
        match what {
            NetworkStep::Send => self.send(),
            NetworkStep::OtherUserSends => self.append(format!("other {}", self.log.len())),
            NetworkStep::Up => self.serve(true),
            NetworkStep::Refuse => self.serve(false),
            NetworkStep::Down => {
                if let Some(frame) = self.down.pop_front() {
                    self.core.text(self.now, &frame.to_string());
                }
            }
            NetworkStep::Twice => {
                if let Some(frame) = self.down.front().filter(|frame| frame["type"] != "joined").cloned() {
                    self.down.push_front(frame);
                }
            }
            NetworkStep::Cut if self.connected => {
                self.disconnect();
                self.core.lost(self.now, Loss::Closed(Some(1006)));
            }
            NetworkStep::Cut => {}
            NetworkStep::Pass => {
                self.now += SECOND;
                self.core.tick(self.now);
            }
            NetworkStep::Take => self.take(),
        }
        self.act();
    }

    fn send(&mut self) {
        self.sent += 1;
        let text = format!("mine {}", self.sent);
        let request = Trigger {
            room_id: "chat".into(),
            event: "message".into(),
            data: Raw::of(&text).unwrap(),
            key: Some(text.into()),
            meta: None,
        };
        self.core.request(self.now, Some("chat".into()), RetryClass::Durable, request.into(), self.sent);
    }

    fn act(&mut self) {
        while let Some(action) = self.core.poll() {
            match action {
                Action::Open => {
                    self.disconnect();
                    self.connected = true;
                    self.down.push_back(json!({"type":"connected","clientId":"c","userId":"u","protocol":1}));
                }
                Action::Disconnect => self.disconnect(),
                Action::Transmit(text) => self.up.push_back(serde_json::from_str(&text).unwrap()),
                Action::Resolve(ticket, answer) => {
                    answer.unwrap();
                    *self.answered.entry(ticket).or_default() += 1;
                }
                Action::Ping | Action::Status(_) => {}
            }
        }
    }

    fn disconnect(&mut self) {
        (self.connected, self.member) = (false, false);
        self.up.clear();
        self.down.clear();
    }

    /// Lets the server read a frame.
    fn serve(&mut self, accepts: bool) {
        let Some(frame) = self.up.pop_front() else { return };
        let id = frame["id"].clone();
        match frame["type"].as_str().unwrap() {
            "join" => {
                let since = usize::try_from(frame["since"]["seq"].as_u64().unwrap()).unwrap();
                let (seq, replay) = (self.log.len(), self.log.len() - since);
                let event_id = if seq == 0 { String::new() } else { event_id(seq) };
                self.down.push_back(json!({"type":"joined","id":id,"roomId":"chat","epoch":"e","seq":seq,
                    "eventId":event_id,"resume":"complete","replay":replay}));
                self.down.extend((since + 1..=seq).map(|seq| event(seq, &self.log[seq - 1])));
                self.member = true;
            }
            "trigger" if accepts => {
                let key = frame["key"].as_str().unwrap().to_owned();
                let duplicate = self.keys.contains_key(&key);
                if !duplicate {
                    self.append(frame["data"].as_str().unwrap().to_owned());
                }
                let seq = *self.keys.entry(key).or_insert(self.log.len());
                self.down.push_back(json!({"type":"ok","id":id,"seq":seq,"eventId":event_id(seq),
                    "timestamp":1,"duplicate":duplicate}));
            }
            "trigger" => {
                self.refused = true;
                self.down.push_back(json!({"type":"error","id":id,"code":"UNAVAILABLE","message":"later"}));
            }
            other => panic!("{other}"),
        }
    }

    fn append(&mut self, text: String) {
        self.log.push(text);
        let seq = self.log.len();
        if self.member {
            self.down.push_back(event(seq, &self.log[seq - 1]));
        }
    }

    fn take(&mut self) {
        use std::task::{Context, Poll, Waker};
        let taken = self.buffer.poll_take(&mut Context::from_waker(Waker::noop()));
        match taken {
            Poll::Ready(Ok(Some(BufferedItem::Event(event_frame)))) => {
                self.taken
                    .push((event_frame.seq.unwrap(), serde_json::from_str(&event_frame.data.0).unwrap()));
            }
            Poll::Ready(Ok(Some(BufferedItem::Rejoined(_)))) | Poll::Pending => {}
            other => panic!("{other:?}"),
        }
        self.core.check_readers(self.now);
    }

    /// Restores a reliable network and runs until nothing is outstanding.
    fn heal(&mut self) {
        for _ in 0..20 {
            self.step(NetworkStep::Pass);
            for _ in 0..self.log.len() + self.sent as usize + 10 {
                for what in [
                    NetworkStep::Up,
                    NetworkStep::Down,
                    NetworkStep::Down,
                    NetworkStep::Take,
                    NetworkStep::Take,
                ] {
                    self.step(what);
                }
            }
        }
    }
}

fn event_id(seq: usize) -> String {
    format!("id{seq}")
}

fn event(seq: usize, text: &str) -> Value {
    json!({"type":"event","roomId":"chat","event":"message","data":text,"from":"a","timestamp":1,
        "eventId":event_id(seq),"seq":seq})
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_reader_gets_the_log_and_every_send_is_accepted_once(
        life in proptest::collection::vec(network_step(), 0..150)
    ) {
        let mut world = World::new();
        for what in life {
            world.step(what);
        }
        world.heal();
        let log: Vec<_> = (1..).zip(world.log.iter().cloned()).collect();
        prop_assert_eq!(&world.taken, &log);
        let mine: Vec<_> = world.log.iter().filter(|text| text.starts_with("mine")).cloned().collect();
        let mut sorted = mine.clone();
        sorted.sort_by_key(|text| text[5..].parse::<u64>().unwrap());
        sorted.dedup();
        let sent: Vec<_> = (1..=world.sent).map(|n| format!("mine {n}")).collect();
        prop_assert_eq!(&sorted, &sent);
        prop_assert_eq!(mine.len(), sorted.len());
        prop_assert!(world.refused || mine == sent, "out of order: {:?}", mine);
        prop_assert_eq!(&world.answered, &(0..=world.sent).map(|ticket| (ticket, 1)).collect());
    }
}
