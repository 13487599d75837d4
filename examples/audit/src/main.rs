//! A ledger whose past nobody changes unseen.
//!
//! ```sh
//! cargo run -p audit -- enter "100 to alice" "30 from alice"
//! cargo run -p audit -- export ledger.jsonl                 # prints an anchor: keep it elsewhere
//! cargo run -p audit -- verify ledger.jsonl 2:5b…           # by the anchor
//! cargo run -p audit -- export more.jsonl 2:5b…             # only what came after it
//! ```
//!
//! The log is in the directory that `DATA` names (default: `ledger`).

use std::{
    env,
    error::Error,
    fs::File,
    io::{BufReader, Read, stdin},
    process::ExitCode,
};

use dialogue::{
    audit::{Anchor, Summary, Verify},
    store::Disk,
};

/// Something that was entered.
#[dialogue::event(from = server)]
struct Entry {
    #[validate(length(min = 1, max = 2000))]
    text: String,
}

dialogue::rooms! {
    struct Bank;

    /// Kept for ever, and each entry stands for all before it.
    #[room(audit, retain(forever))]
    ledger: [Entry] via [websocket];
}

const USAGE: &str = "audit enter TEXT… | audit export FILE [ANCHOR] | audit verify FILE|- [ANCHOR…]";

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let done = match &arguments[..] {
        ["enter", entries @ ..] if !entries.is_empty() => enter(entries).await,
        ["export", file] => export(file, None).await,
        ["export", file, anchor] => export(file, Some(anchor)).await,
        ["verify", file, anchors @ ..] => verify(file, anchors),
        _ => Err(USAGE.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Enters texts, and prints their numbers.
async fn enter(entries: &[&str]) -> Result<(), Box<dyn Error>> {
    let server = open().await?;
    for text in entries {
        let accepted = server.ledger().trigger(Entry { text: (*text).into() }).await?;
        println!("{}", accepted.seq.unwrap_or_default());
    }
    Ok(())
}

/// Writes the log, or what came after the anchor, and prints the anchor that the next one goes on after.
async fn export(file: &str, anchor: Option<&str>) -> Result<(), Box<dyn Error>> {
    let server = open().await?;
    // A file that is there stays as it is: it may be the only witness.
    let file = tokio::fs::File::create_new(file).await?;
    let written = match anchor {
        Some(anchor) => server.ledger().export_after(anchor.parse()?, file).await?,
        None => server.ledger().export(file).await?,
    };
    println!("{}", written.through);
    Ok(())
}

/// Says what a file holds, or what is wrong with it.
fn verify(file: &str, anchors: &[&str]) -> Result<(), Box<dyn Error>> {
    let anchors = anchors.iter().map(|anchor| anchor.parse::<Anchor>()).collect::<Result<Vec<_>, _>>()?;
    let verify = anchors.into_iter().fold(Verify::new(), Verify::anchor);
    let file: Box<dyn Read> = if file == "-" { Box::new(stdin()) } else { Box::new(File::open(file)?) };
    let Summary { room_id, after, through, .. } = verify.read(BufReader::new(file))?;
    println!("{} events of {room_id} after number {}, as they were said", through.seq - after.seq, after.seq);
    println!("{through}");
    Ok(())
}

async fn open() -> Result<BankServer, Box<dyn Error>> {
    let directory = env::var("DATA").unwrap_or_else(|_| "ledger".into());
    Ok(Bank::server().store(Disk::open(directory)?).build().await?)
}
