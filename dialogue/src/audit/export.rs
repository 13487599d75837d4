//! The writer of an export.

use std::{error::Error, fmt, io};

use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::{
    Anchor, Summary,
    line::{Header, put_line},
};
use crate::Refusal;

/// A file that is being written.
pub(crate) struct Export<W> {
    writer: W,
    room_id: String,
    epoch: String,
    through: Anchor,
    /// The anchor in the first line, once it is written.
    after: Option<Anchor>,
    waiting: Vec<u8>,
}

/// The number of bytes that are written at once.
const PIECE: usize = 64 << 10;

impl<W: AsyncWrite + Unpin> Export<W> {
    /// Returns the export of a log up to `through`.
    pub(crate) fn new(writer: W, room_id: &str, epoch: &str, through: Anchor) -> Self {
        let (room_id, epoch) = (room_id.to_owned(), epoch.to_owned());
        Export { writer, room_id, epoch, through, after: None, waiting: Vec::new() }
    }

    /// Returns whether an event was written.
    pub(crate) fn has_begun(&self) -> bool {
        self.after.is_some()
    }

    /// Writes the event that follows `before`.
    pub(crate) async fn event(&mut self, before: Anchor, digest: &[u8; 32], frame: &[u8]) -> io::Result<()> {
        self.begin(before);
        put_line(&mut self.waiting, digest, frame);
        if self.waiting.len() >= PIECE {
            self.writer.write_all(&self.waiting).await?;
            self.waiting.clear();
        }
        Ok(())
    }

    /// Writes the rest of the buffer. `last` is the last event, or the anchor of an export without events.
    pub(crate) async fn finish(mut self, last: Anchor) -> io::Result<Summary> {
        let after = self.begin(last);
        self.writer.write_all(&self.waiting).await?;
        self.writer.flush().await?;
        Ok(Summary { room_id: self.room_id, epoch: self.epoch, after, through: self.through })
    }

    fn begin(&mut self, before: Anchor) -> Anchor {
        *self.after.get_or_insert_with(|| {
            self.waiting = Header::new(&self.room_id, &self.epoch, before, self.through).encode();
            before
        })
    }
}

/// The reason why a log could not be exported. The part that was written is no valid export: [`verify`](super::verify)
/// finds that it was cut off.
#[derive(Debug)]
pub struct ExportError {
    kind: ExportErrorKind,
}

#[derive(Debug)]
enum ExportErrorKind {
    NotAudited(String),
    Unchained(u64),
    Trimmed(u64),
    OtherLog(Anchor),
    Refused(Refusal),
    Write(io::Error),
}

impl ExportError {
    pub(crate) fn not_audited(room_id: &str) -> Self {
        ExportErrorKind::NotAudited(room_id.to_owned()).into()
    }

    /// Returns the error of an event that has no digest, between others that have.
    pub(crate) fn unchained(seq: u64) -> Self {
        ExportErrorKind::Unchained(seq).into()
    }

    /// Returns the error of an event that has been trimmed.
    pub(crate) fn trimmed(seq: u64) -> Self {
        ExportErrorKind::Trimmed(seq).into()
    }

    pub(crate) fn other_log(anchor: Anchor) -> Self {
        ExportErrorKind::OtherLog(anchor).into()
    }
}

impl From<ExportErrorKind> for ExportError {
    fn from(kind: ExportErrorKind) -> Self {
        ExportError { kind }
    }
}

impl From<Refusal> for ExportError {
    fn from(refusal: Refusal) -> Self {
        ExportErrorKind::Refused(refusal).into()
    }
}

impl From<io::Error> for ExportError {
    fn from(error: io::Error) -> Self {
        ExportErrorKind::Write(error).into()
    }
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExportErrorKind::NotAudited(room_id) => {
                write!(f, "the events of `{room_id}` carry no digests: declare the room with `audit`")
            }
            ExportErrorKind::Unchained(seq) => {
                let anchor = Anchor { seq: *seq, ..Anchor::BEGINNING };
                write!(
                    f,
                    "event {seq} carries no digest, since the room was not audited then: export what is after `{anchor}`"
                )
            }
            ExportErrorKind::Trimmed(seq) => {
                write!(f, "the log no longer holds event {seq}: export it again, or keep it for longer")
            }
            ExportErrorKind::OtherLog(Anchor { seq, .. }) => {
                write!(f, "the log has another event {seq} than the anchor is of, or none")
            }
            ExportErrorKind::Refused(refusal) => write!(f, "the log can't be read: {}", refusal.message),
            ExportErrorKind::Write(error) => write!(f, "the export can't be written: {error}"),
        }
    }
}

impl Error for ExportError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.kind {
            ExportErrorKind::Write(error) => Some(error),
            ExportErrorKind::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }
}
