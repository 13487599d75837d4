//! What it costs a delivery that somebody looks: metrics and tracing, on and off.
//!
//! `cargo bench -p dialogue-tests --bench observed` counts, with valgrind, the CPU instructions of a server that says events
//! to a room of 100 sockets, one at a time and 64 at once, each as the difference between two runs that differ in nothing but
//! the number of events. It fails if metrics and tracing at the level `info` cost more than 3 %; what a span for each event
//! costs, which takes `debug`, is shown beside.

mod crowd;
mod server;

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Command, Stdio},
};

use server::{Burst, Look};

type Result<T = (), E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

const MEMBERS: usize = 100;
/// How many events are counted, after as many that are not.
const EVENTS: usize = 640;
/// What looking may cost.
const MOST: f64 = 1.03;

fn main() -> Result {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [serve, look, burst, events] = &arguments[..]
        && serve == "--serve"
    {
        return server::serve(Look::named(look)?, Burst::named(burst)?, events.parse()?);
    }
    // `cargo test --benches` runs benchmarks too, without this.
    if !arguments.iter().any(|argument| argument == "--bench") {
        eprintln!("measures under `cargo bench` only");
        return Ok(());
    }
    println!("| instructions per delivery, {MEMBERS} members | one at a time | 64 at once |\n|---|---|---|");
    let mut plain = None;
    for look in Look::ALL {
        let costs = [each(look, Burst::One)?, each(look, Burst::Many)?];
        let [one, many] = costs;
        let plain = *plain.get_or_insert(costs);
        let more = |cost: f64, plain: f64| (cost / plain - 1.0) * 100.0;
        println!(
            "| {} | {one:.0} ({:+.1} %) | {many:.0} ({:+.1} %) |",
            look.name(),
            more(one, plain[0]),
            more(many, plain[1])
        );
        if look != Look::EachEvent && (one > plain[0] * MOST || many > plain[1] * MOST) {
            return Err(format!("{} cost more than 3 %", look.name()).into());
        }
    }
    Ok(())
}

/// Instructions for one delivery.
fn each(look: Look, burst: Burst) -> Result<f64> {
    let (few, many) = (run(look, burst, EVENTS)?, run(look, burst, 2 * EVENTS)?);
    // Both are far below 2^52.
    Ok(many.saturating_sub(few) as f64 / (EVENTS * MEMBERS) as f64)
}

fn run(look: Look, burst: Burst, events: usize) -> Result<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(std::env::current_exe()?);
    valgrind.args(["--serve", look.name(), burst.name(), &events.to_string()]);
    let mut server = valgrind.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut address = String::new();
    BufReader::new(server.stdout.take().ok_or("no output")?).read_line(&mut address)?;
    let crowd = crowd::gather(address.trim(), MEMBERS)?;
    server.stdin.take().ok_or("no input")?.write_all(b"go\n")?;
    let delivered = crowd.hear_out();
    let mut said = String::new();
    server.stderr.take().ok_or("no output")?.read_to_string(&mut said)?;
    server.wait()?;
    if delivered != events * MEMBERS {
        return Err(format!("{delivered} deliveries of {}", events * MEMBERS).into());
    }
    let (_, after) = said.split_once("Collected : ").ok_or_else(|| format!("valgrind says: {said}"))?;
    Ok(after.chars().take_while(char::is_ascii_digit).collect::<String>().parse()?)
}
