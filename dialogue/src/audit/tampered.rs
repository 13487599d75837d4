//! What is wrong with an export.

use std::{error::Error, fmt, io};

use super::Anchor;

/// Why a file is not a room's log as it was: the first event that is not what or where it was.
#[derive(Debug)]
#[non_exhaustive]
pub enum Tampered {
    /// Its first line says not what follows, or is of a newer version.
    NoExport,
    /// The line can't be read: the medium failed.
    Unreadable {
        /// From 1.
        line: u64,
        /// Why.
        source: io::Error,
    },
    /// The line holds no event of this room.
    Garbled {
        /// From 1.
        line: u64,
        /// The event that is due there.
        due: u64,
    },
    /// The event doesn't follow from the one before it: it was altered, or else the one before it together with its digest.
    Altered {
        /// Its number.
        seq: u64,
    },
    /// The event was removed, or moved.
    Missing {
        /// Its number.
        seq: u64,
        /// The event in its place.
        found: u64,
    },
    /// An event was inserted, or moved, or stands twice.
    Misplaced {
        /// Its number.
        seq: u64,
        /// The event that is due in its place.
        due: u64,
    },
    /// The end was cut off.
    Cut {
        /// The first event that is missing.
        seq: u64,
    },
    /// There is more than the first line says.
    Longer {
        /// The first event beyond.
        seq: u64,
    },
    /// The log up to this event is another than the one that the anchor was taken from, or that the first line tells of.
    Unanchored(Anchor),
    /// The file begins after the event of the anchor, and can't be held against it.
    BeforeAll(Anchor),
}

impl Tampered {
    /// The first event that is not what or where it was, as far as that can be told.
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
