//! What valgrind counts.

use std::process::Command;

use crate::{Result, rooms::Kind};

/// How many events are counted, after as many that are not.
const EVENTS: u64 = 2_000;

/// Prints what an event costs behind each chain.
pub(crate) fn table() -> Result {
    println!("| an event with | instructions | allocations |\n|---|---|---|");
    for kind in Kind::ALL {
        let instructions =
            each(kind, "--tool=callgrind", &["--callgrind-out-file=/dev/null"], "Collected : ")?;
        let allocations = each(kind, "--tool=memcheck", &["--leak-check=no"], "total heap usage: ")?;
        println!("| {} | {instructions:.0} | {allocations:.2} |", kind.name());
    }
    Ok(())
}

/// The number after `mark`, for one event.
fn each(kind: Kind, tool: &str, options: &[&str], mark: &str) -> Result<f64> {
    let run = |events: u64| -> Result<u64> {
        let mut valgrind = Command::new("valgrind");
        valgrind.arg(tool).args(options).arg(std::env::current_exe()?);
        let output = valgrind.args(["run", kind.name(), &events.to_string()]).output()?;
        let text = String::from_utf8_lossy(&output.stderr);
        let (_, after) = text.split_once(mark).ok_or_else(|| format!("valgrind says: {text}"))?;
        let number: String = after.chars().take_while(|c| c.is_ascii_digit() || *c == ',').collect();
        Ok(number.replace(',', "").parse()?)
    };
    let (few, many) = (run(EVENTS)?, run(2 * EVENTS)?);
    // Both are far below 2^52.
    Ok(many.saturating_sub(few) as f64 / EVENTS as f64)
}
