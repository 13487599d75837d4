//! What is measured, and in which order.

use std::{error::Error, time::Duration};

use crate::{
    crowd::{Crowd, Idle, Outcome, Pace},
    process::raise_open_files,
    server::{self, Server},
};

/// What the command line asks for.
pub(crate) struct Plan {
    pub(crate) servers: Vec<Server>,
    runs: usize,
    phase: Duration,
    /// Members of the one large room, and of all the small ones together.
    members: usize,
    /// Connections that do nothing.
    idle: usize,
}

/// What one measurement of one server came to.
#[derive(Debug)]
pub(crate) struct Result {
    pub(crate) server: Server,
    /// Where in the table.
    pub(crate) title: &'static str,
    pub(crate) figures: Figures,
}

#[derive(Debug)]
pub(crate) enum Figures {
    Deliveries(Outcome),
    Idle(Idle),
}

/// A phase that is not looked at.
const WARM_UP: Pace = Pace::InFlight(16);

const LARGE: [(&str, Pace); 3] = [
    ("1 in flight", Pace::InFlight(1)),
    ("64 in flight", Pace::InFlight(64)),
    ("50 messages/s", Pace::PerSecond(50.0)),
];
const SMALL: [(&str, Pace); 2] =
    [("small rooms, 1 in flight", Pace::InFlight(1)), ("small rooms, 64 in flight", Pace::InFlight(64))];
const IDLE: &str = "idle";
const SMALL_ROOM: usize = 10;

impl Plan {
    pub(crate) fn from_arguments(arguments: &[String]) -> std::result::Result<Self, Box<dyn Error>> {
        let mut plan = Plan {
            servers: vec![Server::Dialogue, Server::Broadcast, Server::BroadcastAtOnce],
            runs: 1,
            phase: Duration::from_secs(4),
            members: 1_000,
            idle: 10_000,
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--bench" => {}
                "--quick" => {
                    (plan.phase, plan.members, plan.idle) = (Duration::from_millis(300), 100, 500);
                }
                "--runs" => plan.runs = value()?.parse()?,
                "--seconds" => plan.phase = Duration::try_from_secs_f64(value()?.parse()?)?,
                "--servers" => {
                    let named = |name| Server::named(name).ok_or_else(|| format!("there is no `{name}`"));
                    plan.servers = value()?.split(',').map(named).collect::<std::result::Result<_, _>>()?;
                }
                other => return Err(format!("there is no option {other}").into()),
            }
        }
        Ok(plan)
    }

    pub(crate) fn run(&self) -> std::result::Result<Vec<Result>, Box<dyn Error>> {
        let needed = self.members.max(self.idle) + 200;
        if raise_open_files() < needed as u64 {
            return Err(format!("{needed} files must be open at once: see ulimit -n").into());
        }
        let conformance = server::build()?;
        let mut results = Vec::new();
        for run in 1..=self.runs {
            for server in &self.servers {
                eprintln!("run {run} of {}: {}", self.runs, server.name());
                let note = |title, figures| Result { server: *server, title, figures };
                for (rooms, phases) in [(1, &LARGE[..]), (self.members / SMALL_ROOM, &SMALL[..])] {
                    let running = server.start(&conformance)?;
                    let (mut crowd, _) = Crowd::gather(&running, rooms, self.members)?;
                    crowd.join_publishers()?;
                    crowd.publish(WARM_UP, self.phase / 4)?;
                    for (title, pace) in phases {
                        crowd.attend(Duration::from_millis(300))?;
                        let outcome = crowd.publish(*pace, self.phase)?;
                        results.push(note(title, Figures::Deliveries(outcome)));
                    }
                }
                let running = server.start(&conformance)?;
                let (_, idle) = Crowd::gather(&running, 1, self.idle)?;
                results.push(note(IDLE, Figures::Idle(idle)));
            }
        }
        Ok(results)
    }

    /// The measurements in the order of the table.
    pub(crate) fn titles() -> impl Iterator<Item = &'static str> {
        LARGE.into_iter().chain(SMALL).map(|(title, _)| title).chain([IDLE])
    }
}

impl Result {
    /// Whether everybody got everything, once and in order.
    pub(crate) fn is_complete(&self) -> bool {
        match &self.figures {
            Figures::Deliveries(outcome) => outcome.missing + outcome.doubled + outcome.disordered == 0,
            Figures::Idle(_) => true,
        }
    }
}
