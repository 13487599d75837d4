//! What one delivery costs, ours beside what one would write by hand.
//!
//! `cargo bench -p dialogue-tests --bench fan_out` starts each server in turn as a process of its own, connects a crowd
//! to it over loopback, publishes, checks every delivery at every member, and prints one table. After `--`:
//!
//! - `--quick`: a few seconds, to see that it works;
//! - `--runs N`: all of it so many times, of which the table shows the medians;
//! - `--seconds S`: how long each phase publishes (4);
//! - `--servers a,b`: of `dialogue`, `axum-broadcast`, `axum-broadcast-nodelay`, `floor`; the second and later are
//!   compared with.
//!
//! The figure to look at is the CPU of the server for each delivery. The server has the first CPU, the load the second;
//! a machine that does other work meanwhile spoils the figures, so the table says how much that was. Figures are Linux's
//! (`/proc`); elsewhere only the deliveries are checked.

mod broadcast;
mod crowd;
mod dialect;
mod floor;
mod histogram;
mod link;
mod plan;
mod process;
mod server;
mod table;
mod tally;
mod wire;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [serve, name] = &arguments[..]
        && serve == "--serve"
    {
        return serve_peer(name);
    }
    // `cargo test --benches` runs benchmarks too, without this.
    if !arguments.iter().any(|argument| argument == "--bench") {
        eprintln!("measures under `cargo bench` only");
        return Ok(());
    }
    let plan = plan::Plan::from_arguments(&arguments)?;
    let results = plan.run()?;
    print!("{}", table::render(&plan.servers, &results));
    if results.iter().any(|result| result.server == server::Server::Dialogue && !result.is_complete()) {
        return Err("deliveries were lost, doubled or out of order".into());
    }
    Ok(())
}

/// This program is also the servers that ours is compared with.
fn serve_peer(name: &str) -> Result<(), Box<dyn std::error::Error>> {
    use server::Server;

    match Server::named(name) {
        Some(Server::Broadcast) => broadcast::serve(false)?,
        Some(Server::BroadcastAtOnce) => broadcast::serve(true)?,
        Some(Server::Floor) => floor::serve()?,
        Some(Server::Dialogue) | None => return Err(format!("there is no peer `{name}`").into()),
    }
    Ok(())
}
