//! The ways in which an export can be wrong.

use std::{error::Error, fmt, io};

use super::Anchor;

/// The reason why a file is not the unchanged log of a room: the first event that was altered, removed, moved or added.
#[derive(Debug)]
#[non_exhaustive]
pub enum Tampered {
    /// The first line doesn't describe an export, or is of a newer version of the format.
    NoExport,
    /// A line can't be read: the reader failed.
    Unreadable {
        /// The number of the line, from 1.
        line: u64,
        /// The error of the reader.
        source: io::Error,
    },
    /// A line holds no event of this room.
    Garbled {
        /// The number of the line, from 1.
        line: u64,
        /// The number of the event that is expected there.
        due: u64,
    },
    /// The event doesn't follow from the one before it: it was altered, or the one before it was, together with its
    /// digest.
    Altered {
        /// The number of the event.
        seq: u64,
    },
    /// The event was removed or moved.
    Missing {
        /// The number of the event.
        seq: u64,
        /// The number of the event in its place.
        found: u64,
    },
    /// An event was inserted, moved or repeated.
    Misplaced {
        /// The number of the event.
        seq: u64,
        /// The number of the event that is expected in its place.
        due: u64,
    },
    /// The end of the file was cut off.
    Cut {
        /// The number of the first missing event.
        seq: u64,
    },
    /// The file holds more events than its first line announces.
    Longer {
        /// The number of the first event beyond.
        seq: u64,
    },
    /// The log up to this event differs from the log of the anchor, or from the one that the first line announces.
    Unanchored(Anchor),
    /// The file begins after the event of the anchor, so that the two can't be compared.
    BeforeAll(Anchor),
}

impl Tampered {
    /// Returns the number of the first event that is wrong, as far as it can be determined.
    pub fn seq(&self) -> Option<u64> {
        match self {
            Tampered::NoExport | Tampered::Unreadable { .. } | Tampered::BeforeAll(_) => None,
            Tampered::Garbled { due, .. } | Tampered::Misplaced { due, .. } => Some(*due),
            Tampered::Altered { seq }
            | Tampered::Missing { seq, .. }
            | Tampered::Cut { seq }
            | Tampered::Longer { seq } => Some(*seq),
            Tampered::Unanchored(anchor) => Some(anchor.seq),
        }
    }
}

impl fmt::Display for Tampered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Tampered::NoExport => {
                f.write_str("the first line is not that of an export which this version can read")
            }
            Tampered::Unreadable { line, source } => write!(f, "line {line} can't be read: {source}"),
            Tampered::Garbled { line, due } => {
                write!(f, "line {line} holds no event of the room: event {due} is due there")
            }
            Tampered::Altered { seq: seq @ ..=1 } => write!(f, "event {seq} was altered"),
            Tampered::Altered { seq } => {
                write!(f, "event {seq} was altered, or event {} together with its digest", seq - 1)
            }
            Tampered::Missing { seq, found } => {
                write!(f, "event {seq} was removed or moved: event {found} stands in its place")
            }
            Tampered::Misplaced { seq, due } => {
                write!(f, "event {seq} was inserted or moved: it stands where event {due} is due")
            }
            Tampered::Cut { seq } => write!(f, "the end was cut off, from event {seq} on"),
            Tampered::Longer { seq } => {
                write!(f, "event {seq} was appended, or the first line altered, which says nothing of it")
            }
            Tampered::Unanchored(Anchor { seq, .. }) => {
                write!(
                    f,
                    "the log up to event {seq} is another than the anchor stands for, or the first line"
                )
            }
            Tampered::BeforeAll(Anchor { seq, .. }) => write!(
                f,
                "the file begins after event {seq}, which the anchor is of: verify an earlier file by it"
            ),
        }
    }
}

impl Error for Tampered {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Tampered::Unreadable { source, .. } => Some(source),
            _ => None,
        }
    }
}
