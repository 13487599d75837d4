//! A simulation of a deployment: nodes, their clients and their store, in one process on virtual time.
//!
//! Each run follows from its seed: what clients do, when nodes die and come back, when links are cut, slow or lose
//! answers, when a room is deleted, and when the store fails over and loses what was written last. The nodes are whole servers below their sockets; only the store and the links to it are
//! imitated. The promises are those of the chaos suite, which does the same to processes and a real Redis:
//!
//! - Of a room, each number of an epoch is one event for all clients, and a client gets them without a hole or a repeat
//!   from the position of its `joined` on.
//! - An event that was accepted is in the log once, at the number that was answered, unless the store lost it. An
//!   idempotency key stands for one event.
//! - Each request is answered once.
//! - Once all is well, all clients have all events, and all nodes know all members.
//!
//! `SIMULATION_SEED=N` tells one run line by line, `SIMULATION_RUNS=N` runs more of them.

mod client;
mod frame;
mod network;
mod plan;
mod receive;
mod settle;
mod shared_store;
mod trouble;
mod truth;
mod world;

use std::{cell::Cell, env, ops::Range, panic, process::Command, sync::Once};

use truth::{Counts, Trace, Truth};
use world::World;

use crate::wall_clock::simulated::SimulatedClock;

#[dialogue::event]
struct Message {
    text: String,
}

#[dialogue::event(ephemeral)]
struct Typing {
    active: bool,
}

dialogue::rooms! {
    struct Acme;

    #[room(presence)]
    chat: [Message, Typing] via [websocket];

    // As `RETAINED`.
    #[room(retain(events = 40))]
    project(u64): [Message] via [websocket];
}

/// The rooms that clients are in.
const ROOMS: [&str; 2] = ["chat", DELETED_ROOM];
/// The one that is deleted now and then.
const DELETED_ROOM: &str = "project:1";
/// The number of events that its log keeps.
const RETAINED: u64 = 40;

/// Runs the world of a seed, by itself: on one thread, whose clock jumps to the next timer when nothing is to be done.
fn run(seed: u64, trace: Trace) -> Truth {
    note_panics();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let mut truth = runtime.expect("a runtime").block_on(async {
        let _clock = SimulatedClock::start();
        World::run(seed, trace).await
    });
    if let panics @ 1.. = PANICS.take() {
        truth.violated(format!("{panics} tasks panicked"));
    }
    truth
}

thread_local! {
    /// The panics on this thread.
    static PANICS: Cell<u32> = const { Cell::new(0) };
}

/// Counts panics from now on: those of a server's tasks reach nobody.
fn note_panics() {
    static NOTES: Once = Once::new();
    NOTES.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            PANICS.set(PANICS.get() + 1);
            before(panic);
        }));
    });
}

/// Seeds of the suite: those that once found a fault, and as many others as it has time for.
const SEEDS: [u64; 2] = [355, 396];
/// The runs of the suite.
const RUNS: u64 = 60;

/// The runs that may fail before the others are left out.
const MAX_FAILED: u32 = 20;

/// `SIMULATION_SEED` without `SIMULATION_RUNS` is one run, which is printed; with it, the first of the runs.
#[test]
fn a_deployment_keeps_its_promises_whatever_fails() {
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds: Vec<u64> = match (number("SIMULATION_SEED"), number("SIMULATION_RUNS")) {
        (Some(seed), None) => {
            assert_eq!(run(seed, Trace::Printed).violations, Vec::<String>::new(), "seed {seed}");
            return;
        }
        (None, None) => (0..RUNS).chain(SEEDS).chain([fastrand::u64(..)]).collect(),
        (first, runs) => (first.unwrap_or(0)..).take(to_usize(runs.unwrap_or(RUNS))).collect(),
    };
    let (mut total, mut failed) = (Counts::default(), 0);
    for seed in seeds {
        let truth = run(seed, Trace::Dropped);
        total.add(truth.counts);
        if let Some(violation) = truth.violations.first() {
            println!("SIMULATION_SEED={seed}: {violation}");
            failed += 1;
        }
        if failed == MAX_FAILED {
            break;
        }
    }
    println!("{total:?}");
    assert_eq!(failed, 0, "repeat one of the seeds above");
    assert!(total.is_eventful(), "too little happened: {total:?}");
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Each of these seeds is the same run twice in this process, and once in another.
const REPEATED_SEEDS: Range<u64> = 0..20;
/// Set for the other process.
const PRINTS_HASHES: &str = "SIMULATION_PRINTS_HASHES";

#[test]
fn a_seed_is_one_run() {
    let hashes: Vec<u64> = REPEATED_SEEDS.map(|seed| run(seed, Trace::Kept).hash()).collect();
    if env::var_os(PRINTS_HASHES).is_some() {
        println!("hashes: {hashes:?}");
        return;
    }
    for seed in REPEATED_SEEDS {
        let (first, second) = (run(seed, Trace::Kept).lines, run(seed, Trace::Kept).lines);
        let differs = first.iter().zip(&second).position(|(first, second)| first != second);
        assert_eq!(differs.map(|at| (seed, at, &first[at], &second[at])), None);
        assert_eq!(first.len(), second.len());
    }
    let mut other = Command::new(env::current_exe().expect("this program"));
    let other =
        other.args(["--exact", "simulation::a_seed_is_one_run", "--nocapture"]).env(PRINTS_HASHES, "1");
    let output = other.output().expect("this program runs");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains(&format!("hashes: {hashes:?}")), "{hashes:?}, and in another process {printed}");
}
