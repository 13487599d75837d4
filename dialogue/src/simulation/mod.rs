//! A simulation of a deployment: nodes, their clients and their store, in one process on virtual time.
//!
//! Each run follows from its seed: what clients do, when nodes die and come back, when links are cut, slow or lose
//! answers, when a room is deleted, and when the store fails over and loses what was written last. The nodes are whole
//! servers below their sockets; only the store and the links to it are imitated. The promises are those of the chaos
//! suite, which does the same to processes and a real Redis:
//!
//! - Of a room, each number of an epoch is one event for all clients, and a client gets them without a hole or a repeat
//!   from the position of its `joined` on. A text is one event for ever.
//! - An event that was accepted is in the log once, at the number that was answered, unless the store lost it. An
//!   idempotency key stands for one event, at each node.
//! - A client is told `lost` only if the store lost its event, the log was trimmed, or the epoch is another, and epochs
//!   begin only with what loses events. It never goes on behind an event that was lost.
//! - The events of a connection keep the order in which it sent them, ephemeral ones too, and each comes after its `ok`.
//! - Each request is answered once.
//! - Once all is well, all clients have all events, and all nodes and clients know all members.
//! - No task panics.
//!
//! An epoch of a deleted room may be given again by a node that had no event of the room and doesn't know of its
//! deletion; those are counted, and have to be few.
//!
//! `SIMULATION_SEED=N` prints one run line by line, `SIMULATION_RUNS=N` makes more of them; both together make N from a
//! seed on.

mod application;
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

use std::{
    cell::Cell,
    env,
    ops::Range,
    panic,
    process::{Command, Stdio},
    sync::Once,
};

use plan::Plan;
use truth::{Counts, Trace, Truth};
use world::World;

use crate::wall_clock::simulated::SimulatedClock;

/// Runs the world of a seed, by itself: on one thread, whose clock jumps to the next timer when nothing is to be done.
fn run(plan: Plan, seed: u64, trace: Trace) -> Truth {
    note_panics();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let mut truth = runtime.expect("a runtime").block_on(async {
        let _clock = SimulatedClock::start();
        World::run(plan, seed, trace).await
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

/// The runs of the suite: as many as it has time for, and one with a seed at random.
const RUNS: u64 = if cfg!(debug_assertions) { 24 } else { 200 };

/// The runs that may fail before the others are left out.
const MAX_FAILED: u32 = 20;

#[test]
fn a_deployment_keeps_its_promises_whatever_fails() {
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds: Vec<u64> = match (number("SIMULATION_SEED"), number("SIMULATION_RUNS")) {
        (Some(seed), None) => {
            let violations = run(Plan::of(seed), seed, Trace::Printed).violations;
            return assert_eq!(violations, Vec::<String>::new(), "seed {seed}");
        }
        (None, None) => (0..RUNS).chain([fastrand::u64(..)]).collect(),
        (first, runs) => (first.unwrap_or(0)..).take(to_usize(runs.unwrap_or(RUNS))).collect(),
    };
    let (mut total, mut failed, is_suite) = (Counts::default(), 0, to_u64(seeds.len()) >= RUNS);
    for seed in seeds {
        let truth = run(Plan::of(seed), seed, Trace::Dropped);
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
    // Of a few runs, nothing can be said.
    assert!(!is_suite || total.is_eventful(), "too little happened: {total:?}");
    assert!(total.reused_epochs <= 3 + total.deleted / 8, "epochs of deleted logs come again: {total:?}");
}

fn to_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
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
    let trace = |seed| run(Plan::brief(seed), seed, Trace::Kept);
    if env::var_os(PRINTS_HASHES).is_some() {
        let hashes: Vec<u64> = REPEATED_SEEDS.map(|seed| trace(seed).hash()).collect();
        return println!("hashes: {hashes:?}");
    }
    let mut other = Command::new(env::current_exe().expect("this program"));
    other.args(["--exact", "simulation::a_seed_is_one_run", "--nocapture"]).env(PRINTS_HASHES, "1");
    let other = other.stdout(Stdio::piped()).spawn().expect("this program runs");
    let mut hashes = Vec::new();
    for seed in REPEATED_SEEDS {
        let (first, second) = (trace(seed), trace(seed));
        let mut lines = first.lines.iter().zip(&second.lines);
        assert_eq!(lines.find(|(first, second)| first != second), None, "seed {seed}");
        assert_eq!(first.lines.len(), second.lines.len());
        hashes.push(first.hash());
    }
    let output = other.wait_with_output().expect("it ends");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains(&format!("hashes: {hashes:?}")), "{hashes:?}, and in another process {printed}");
}
