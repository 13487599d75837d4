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
mod network;
mod truth;
mod world;

use std::{cell::Cell, env, panic, sync::Once};

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

    #[room(retain(events = 40))]
    project(u64): [Message] via [websocket];
}

/// The rooms that clients are in.
const ROOMS: [&str; 2] = ["chat", DELETED_ROOM];
/// The one that is deleted now and then.
const DELETED_ROOM: &str = "project:1";

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

#[test]
fn a_deployment_keeps_its_promises_whatever_fails() {
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("SIMULATION_SEED") {
        let truth = run(seed, Trace::Printed);
        assert_eq!(truth.violations, Vec::<String>::new(), "seed {seed}");
        return;
    }
    let mut total = Counts::default();
    for seed in 0..number("SIMULATION_RUNS").unwrap_or(24) {
        let truth = run(seed, Trace::Dropped);
        assert_eq!(truth.violations, Vec::<String>::new(), "repeat it with SIMULATION_SEED={seed}");
        total.add(truth.counts);
    }
    println!("{total:?}");
    assert!(total.is_eventful(), "too little happened: {total:?}");
}

#[test]
fn a_seed_is_one_run() {
    for seed in 0..4 {
        let (first, second) = (run(seed, Trace::Kept).lines, run(seed, Trace::Kept).lines);
        let differs = first.iter().zip(&second).position(|(first, second)| first != second);
        assert_eq!(differs.map(|at| (seed, at, &first[at], &second[at])), None);
        assert_eq!(first.len(), second.len());
    }
}
