//! What the store on disk costs, beside the engine it is built on: the same rows in the same batches.
//!
//! `cargo bench -p dialogue-tests --bench disk` writes below the target directory (some 3 GB, removed again), takes about
//! four minutes, and prints three tables: acknowledged events per second by durability and writers, of the bare engine, of
//! [`Store::append`] and of a whole server's `trigger`; bytes on disk; and how long a page of history and opening take.
//! `-- writers`, `-- bytes`, `-- pages` or `-- opening` measure only that.

mod bare;
mod bytes;
mod events;
mod opening;
mod pages;
#[allow(dead_code)]
#[path = "../fan_out/process.rs"]
mod process;
mod writers;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

type Result<T = (), E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

fn main() -> Result {
    // `cargo test --benches` runs benchmarks too, without this.
    if !std::env::args().any(|argument| argument == "--bench") {
        eprintln!("measures under `cargo bench` only");
        return Ok(());
    }
    let asked: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let is_asked = |what: &str| asked.is_empty() || asked.iter().any(|asked| asked == what);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    if is_asked("writers") {
        runtime.block_on(writers::measure())?;
    }
    if is_asked("bytes") {
        runtime.block_on(bytes::measure())?;
    }
    if is_asked("pages") {
        runtime.block_on(pages::measure())?;
    }
    if is_asked("opening") {
        runtime.block_on(opening::measure())?;
    }
    Ok(())
}

/// An empty directory below the target directory, which is removed in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> io::Result<Self> {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("disk-{name}-{}", std::process::id()));
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left over is in the target directory.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn median<T: Ord + Copy + Default>(mut values: Vec<T>) -> T {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}
