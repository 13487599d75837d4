//! The load: members of rooms and whoever publishes to them, from one thread.

use std::{
    io,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token};

use crate::{
    link::Link,
    process::{cpu_time, machine_cpu_time, own_cpu_time, resident},
    server::Running,
    tally::Tally,
    wire::Record,
};

/// Everybody who is connected to one server.
pub(crate) struct Crowd<'a> {
    server: &'a Running,
    rooms: usize,
    members: usize,
    /// Members first, then publishers.
    links: Vec<Link>,
    opening: usize,
    tally: Tally,
    poll: Poll,
    events: Events,
    scratch: Vec<u8>,
    started: Instant,
}

/// How messages are published.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// The next one once all have one of these.
    InFlight(usize),
    /// So many a second, whatever becomes of them.
    PerSecond(f64),
}

/// What came of one phase.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    /// The server's, in microseconds for one delivery.
    pub(crate) cpu: f64,
    /// Of a delivery, in microseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) delivered: u64,
    pub(crate) missing: u64,
    pub(crate) doubled: u64,
    pub(crate) disordered: u64,
    /// CPUs that everything else on the machine took meanwhile.
    pub(crate) others: f64,
}

/// What connections cost that do nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Idle {
    /// The server's, in microseconds for one connection.
    pub(crate) connect_cpu: f64,
    /// The server's, in resident bytes for one connection.
    pub(crate) memory: f64,
}

/// Handshakes at once.
const OPENING: usize = 100;
/// Bytes of a payload.
const PAYLOAD: usize = 128;
/// A phase ends this long after its last delivery.
const STALL: Duration = Duration::from_secs(5);
/// Time for what follows a handshake.
const SETTLE: Duration = Duration::from_millis(500);

impl<'a> Crowd<'a> {
    /// Connects the members, spread over the rooms, and says what they cost the server.
    pub(crate) fn gather(server: &'a Running, rooms: usize, members: usize) -> io::Result<(Self, Idle)> {
        let mut crowd = Crowd {
            server,
            rooms,
            members,
            links: Vec::new(),
            opening: 0,
            tally: Tally::new(0, [], 0),
            poll: Poll::new()?,
            events: Events::with_capacity(2_048),
            scratch: vec![0; 256 << 10],
            started: Instant::now(),
        };
        let (cpu, memory) = (cpu_time(server.pid()), resident(server.pid()));
        for member in 0..members {
            let room = member % rooms;
            crowd.open(&server.dialect.member_path(room), server.dialect.join(room).into_iter().collect())?;
            crowd.wait_for_opening(OPENING)?;
        }
        crowd.wait_for_opening(1)?;
        crowd.attend(SETTLE)?;
        let per_member = |total: u64| total as f64 / members as f64;
        let idle = Idle {
            connect_cpu: per_member(cpu_time(server.pid()) - cpu) / 1_000.0,
            memory: per_member(resident(server.pid()).saturating_sub(memory)),
        };
        Ok((crowd, idle))
    }

    /// Connects those who publish.
    pub(crate) fn join_publishers(&mut self) -> io::Result<()> {
        let dialect = self.server.dialect;
        let paths = dialect.publisher_paths(self.rooms);
        for (publisher, path) in paths.iter().enumerate() {
            let rooms = (0..self.rooms).filter(|room| room % paths.len() == publisher);
            let joins = rooms.filter_map(|room| dialect.join_to_publish(room)).collect();
            self.open(path, joins)?;
            self.wait_for_opening(OPENING)?;
        }
        self.wait_for_opening(1)?;
        self.attend(SETTLE)
    }

    /// Publishes for as long as is said, and until everything has arrived.
    pub(crate) fn publish(&mut self, pace: Pace, lasting: Duration) -> io::Result<Outcome> {
        let start = self.now();
        let rooms = (0..self.members).map(|member| member % self.rooms);
        self.tally = Tally::new(self.tally.phase.wrapping_add(1), rooms, start);
        let pid = self.server.pid();
        let before = (cpu_time(pid), own_cpu_time(), machine_cpu_time());
        let end = start + nanoseconds(lasting);
        let mut newest = start;
        loop {
            let now = self.now();
            let more = now < end;
            let published = self.tally.published();
            if !more && self.tally.complete == published
                || now.saturating_sub(self.tally.last.max(newest)) > nanoseconds(STALL)
            {
                break;
            }
            if more {
                match pace {
                    Pace::InFlight(most) => {
                        for _ in published - self.tally.complete..most {
                            self.publish_one(now)?;
                            newest = now;
                        }
                    }
                    // Stamped with when it was due: to be late with it counts as latency.
                    Pace::PerSecond(rate) => {
                        let due = |number: usize| start + (number as f64 * 1e9 / rate) as u64;
                        while due(self.tally.published()) <= now {
                            newest = due(self.tally.published());
                            self.publish_one(newest)?;
                        }
                    }
                }
                for publisher in &mut self.links[self.members..] {
                    publisher.flush()?;
                }
            }
            // Never asleep: the server then pays for no wake-up of its clients, as with clients on other machines.
            self.pump(Duration::ZERO)?;
        }
        let wall = (self.now() - start) as f64;
        let (cpu, own, machine) =
            (cpu_time(pid) - before.0, own_cpu_time() - before.1, machine_cpu_time() - before.2);
        let tally = &self.tally;
        let expected: usize =
            (0..tally.published()).map(|number| self.size_of_room(number % self.rooms)).sum();
        Ok(Outcome {
            cpu: cpu as f64 / 1_000.0 / tally.delivered.max(1) as f64,
            p50: tally.latency.quantile(0.5),
            p99: tally.latency.quantile(0.99),
            delivered: tally.delivered,
            missing: (expected as u64).saturating_sub(tally.delivered),
            doubled: tally.doubled,
            disordered: tally.disordered,
            others: machine.saturating_sub(cpu + own) as f64 / wall,
        })
    }

    /// Does what connections ask for, for so long.
    pub(crate) fn attend(&mut self, lasting: Duration) -> io::Result<()> {
        let end = Instant::now() + lasting;
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.pump(left)?;
        }
        Ok(())
    }

    fn open(&mut self, path: &str, joins: Vec<String>) -> io::Result<()> {
        let mut link = Link::open(self.server.address, path, joins)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut link.stream, Token(self.links.len()), interest)?;
        self.links.push(link);
        self.opening += 1;
        Ok(())
    }

    /// Waits until fewer than `most` handshakes are under way.
    fn wait_for_opening(&mut self, most: usize) -> io::Result<()> {
        let start = Instant::now();
        while self.opening >= most {
            self.pump(Duration::from_millis(100))?;
            if start.elapsed() > Duration::from_secs(60) {
                return Err(io::Error::other(format!("{} connections don't get ready", self.opening)));
            }
        }
        Ok(())
    }

    fn publish_one(&mut self, stamp: u64) -> io::Result<()> {
        let number = self.tally.published();
        let room = number % self.rooms;
        let record = Record {
            phase: self.tally.phase,
            room: u16::try_from(room).map_err(io::Error::other)?,
            seq: u32::try_from(number / self.rooms).map_err(io::Error::other)?,
            number: u32::try_from(number).map_err(io::Error::other)?,
            stamp,
        };
        self.tally.publish();
        let frame = self.server.dialect.publish(room, record.payload(PAYLOAD));
        let publishers = &mut self.links[self.members..];
        let publisher = room % publishers.len();
        publishers[publisher].say(&frame);
        Ok(())
    }

    /// One wait, and everything that it brought.
    fn pump(&mut self, patience: Duration) -> io::Result<()> {
        match self.poll.poll(&mut self.events, Some(patience)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        let now = nanoseconds(self.started.elapsed());
        let (members, rooms) = (self.members, self.rooms);
        for event in &self.events {
            let Token(number) = event.token();
            let link = &mut self.links[number];
            let was_ready = link.is_ready();
            if event.is_writable() {
                link.flush()?;
            }
            if event.is_readable() || event.is_error() {
                let size = size_of_room(members, rooms, number % rooms);
                let tally = &mut self.tally;
                link.read(&mut self.scratch, |message| {
                    if let Some(record) = Record::find(message) {
                        tally.deliver(number, size, record, now);
                    }
                })?;
            }
            self.opening -= usize::from(!was_ready && link.is_ready());
        }
        Ok(())
    }

    fn size_of_room(&self, room: usize) -> usize {
        size_of_room(self.members, self.rooms, room)
    }

    fn now(&self) -> u64 {
        nanoseconds(self.started.elapsed())
    }
}

/// Member `n` is in room `n` modulo how many there are.
fn size_of_room(members: usize, rooms: usize, room: usize) -> usize {
    members / rooms + usize::from(room < members % rooms)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
