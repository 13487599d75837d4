//! What middleware costs that does nothing: chains of 0, 1 and 5 in front of an event, against the same by hand.
//!
//! `cargo bench -p dialogue-tests --bench chains` times an event of server code, from its call to its acknowledgement, on one
//! thread. `… -- --instructions` counts what valgrind sees of it instead, in CPU instructions and in allocations, each as
//! the difference between two runs of this program that differ in nothing but the number of events.

mod count;
mod rooms;

use criterion::Criterion;
use rooms::{Kind, Rooms};

type Result<T = (), E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

fn main() -> Result {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, mode, kind, events] = arguments.as_slice()
        && mode == "run"
    {
        let rooms = Rooms::open()?;
        let kind = Kind::named(kind).ok_or("no such chain")?;
        (0..events.parse::<usize>()?).try_for_each(|_| rooms.say(kind))?;
        return Ok(());
    }
    // `cargo test --benches` runs benchmarks too, without this.
    if !arguments.iter().any(|argument| argument == "--bench") {
        eprintln!("measures under `cargo bench` only");
        return Ok(());
    }
    if arguments.iter().any(|argument| argument == "--instructions") {
        return count::table();
    }
    let rooms = Rooms::open()?;
    let mut criterion = Criterion::default().configure_from_args();
    for kind in Kind::ALL {
        criterion.bench_function(kind.name(), |bench| bench.iter(|| rooms.say(kind)));
    }
    criterion.final_summary();
    Ok(())
}
