//! Tests of the disk store: reopening, crashes, damage, a full disk, trimming, and equivalence with the memory store.

mod damage;
#[cfg(unix)]
mod disk_full;
#[cfg(unix)]
mod killed;
mod model;
mod opening;
mod trimming;

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use dialogue_core::{
    store::{Append, Order, Query, Store, StoreError, StoredEvent, Trim},
    wire::Id,
};

use super::{Disk, Durability};

/// A path for a directory of one test, which is removed on drop.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Scratch(std::env::temp_dir().join(format!("dialogue-disk-{}-{number}", std::process::id())))
    }

    fn open(&self) -> Disk {
        self.try_open().expect("opened")
    }

    /// Opens it, again if need be: a program that another test starts has the lock of a store that was closed since,
    /// until it is that program.
    fn try_open(&self) -> Result<Disk, StoreError> {
        for _ in 0..100 {
            match Disk::open(&self.0) {
                Err(error) if error.to_string().contains("has it open") => {}
                opened => return opened,
            }
        }
        Disk::open(&self.0)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The directory may not exist.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Returns an event with the key `key-SEQ`, whose timestamp equals its number.
fn event(seq: u64) -> StoredEvent {
    let data = format!(r#"{{"text":"number {seq}"}}"#).into();
    let mut event = StoredEvent::new(seq, Id::fresh(), seq, "message", "alice".into(), data);
    event.key = Some(format!("key-{seq}").into());
    event.offset = seq * 100;
    event
}

fn append(room_id: &str, events: impl IntoIterator<Item = StoredEvent>) -> Append {
    Append::new(room_id.into(), "epoch".into(), events.into_iter().collect())
}

fn trim(first: u64, keys_since: u64) -> Trim {
    Trim::new("epoch".into(), first, keys_since)
}

async fn append_one(disk: &Disk, room_id: &str, event: StoredEvent) -> Result<(), StoreError> {
    disk.append(vec![append(room_id, [event])]).await
}

/// Reads all of a room's events.
async fn all(disk: &Disk, room_id: &str) -> Vec<StoredEvent> {
    let (mut query, mut found) = (Query::new(Order::OldestFirst, 1_000), Vec::new());
    loop {
        let page = disk.read(room_id, query.clone()).await.expect("read");
        found.extend(page.events);
        let Some(next) = page.next else { return found };
        query.after = Some(next);
    }
}

fn numbers(events: &[StoredEvent]) -> Vec<u64> {
    events.iter().map(|event| event.seq).collect()
}

/// Returns the command that runs one ignored test of this program, over a store in `directory`.
#[cfg(unix)]
fn test_command(test: &str, directory: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "--ignored", "--nocapture", "--quiet"]).arg(format!("tests::{test}"));
    command.env("DIALOGUE_DISK", directory);
    command
}

/// The directory that [`test_command`] passes.
#[cfg(unix)]
fn passed_directory() -> PathBuf {
    std::env::var_os("DIALOGUE_DISK").expect("another test runs this one").into()
}
