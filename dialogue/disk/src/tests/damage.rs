//! The log lines and errors of a damaged journal.

use std::{
    fmt::{self, Write as _},
    fs,
    io::{Read, Seek, SeekFrom, Write},
    sync::Mutex,
};

use tracing::{Event, Metadata, Subscriber, field::Visit, span};

use super::*;

/// A subscriber that collects the log lines of this crate.
#[derive(Clone, Default)]
struct LogCapture(Arc<Mutex<String>>);

struct Line<'a>(&'a mut String);

impl Subscriber for LogCapture {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("dialogue")
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Line(&mut self.0.lock().expect("no panic elsewhere")));
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

impl Visit for Line<'_> {
    fn record_debug(&mut self, _: &tracing::field::Field, value: &dyn fmt::Debug) {
        writeln!(self.0, "{value:?}").expect("memory");
    }
}

/// Opens the store; returns what was logged, and the outcome.
fn open_and_capture(scratch: &Scratch) -> (String, Result<Disk, StoreError>) {
    let capture = LogCapture::default();
    let logged = tracing::subscriber::set_default(capture.clone());
    let opened = scratch.try_open();
    drop(logged);
    let log = capture.0.lock().expect("no panic elsewhere").clone();
    (log, opened)
}

/// Creates and closes a store with 20 events in its journal; returns its journal and the offset of the last byte
/// written.
async fn closed_store() -> (Scratch, fs::File, u64) {
    let scratch = Scratch::new();
    let disk = scratch.open();
    for seq in 1..=20 {
        append_one(&disk, "chat", event(seq)).await.expect("appended");
    }
    drop(disk);
    let mut journal =
        fs::File::options().read(true).write(true).open(scratch.0.join("engine/0.jnl")).expect("there");
    let mut bytes = Vec::new();
    journal.read_to_end(&mut bytes).expect("read");
    let end = bytes.iter().rposition(|byte| *byte != 0).expect("events");
    (scratch, journal, end as u64)
}

#[tokio::test]
async fn a_torn_batch_is_repaired_with_one_log_line() {
    let (scratch, journal, end) = closed_store().await;
    journal.set_len(end - 5).expect("cut");
    let (log, opened) = open_and_capture(&scratch);
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.contains("ended within a write: repaired"), "{log}");
    assert_eq!(numbers(&all(&opened.expect("opened"), "chat").await), (1..20).collect::<Vec<_>>());
    assert_eq!(open_and_capture(&scratch).0, "");
}

#[tokio::test]
async fn a_last_batch_with_a_wrong_checksum_is_repaired() {
    let (scratch, mut journal, end) = closed_store().await;
    journal.seek(SeekFrom::Start(end - 40)).expect("there");
    journal.write_all(&[0; 8]).expect("written");
    let (log, opened) = open_and_capture(&scratch);
    assert!(log.contains("ended within a write: repaired"), "{log}");
    assert_eq!(numbers(&all(&opened.expect("opened"), "chat").await), (1..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn damage_before_complete_batches_is_an_error() {
    let (scratch, mut journal, end) = closed_store().await;
    journal.seek(SeekFrom::Start(end / 2)).expect("there");
    journal.write_all(&[0; 8]).expect("written");
    let error = open_and_capture(&scratch).1.expect_err("damaged").to_string();
    assert!(error.contains("is damaged at byte"), "{error}");
}
