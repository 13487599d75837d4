//! The verifier of an export, which reads it event by event.

use std::{collections::BTreeMap, io::BufRead};

use super::{
    Anchor, Tampered,
    line::{AuditedFrame, Header, Line},
    link,
};

/// The contents of a verified export.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// The id of the room instance.
    pub room_id: String,
    /// The epoch of the log, as the file states it: the digests don't cover it.
    pub epoch: String,
    /// The event after which the file begins.
    pub after: Anchor,
    /// The last event. It is the anchor by which the next export can be verified.
    pub through: Anchor,
}

/// Verifies an export, by nothing but itself.
///
/// Reads it once, from front to end, and keeps a line of it in memory.
///
/// # Errors
///
/// It is not as it was: the error names the first event that isn't. Or it can't be read.
///
/// ```
/// use dialogue::audit::{Tampered, verify};
///
/// let nothing = br#"{"audit":1,"roomId":"ledger","epoch":"k2f9","after":{"seq":0,"digest":"0000000000000000000000000000000000000000000000000000000000000000"},"through":{"seq":0,"digest":"0000000000000000000000000000000000000000000000000000000000000000"}}"#;
/// assert_eq!(verify(&nothing[..])?.through.seq, 0);
/// assert!(matches!(verify(&b"{}"[..]), Err(Tampered::NoExport)));
/// # Ok::<_, Tampered>(())
/// ```
pub fn verify(reader: impl BufRead) -> Result<Summary, Tampered> {
    Verify::new().read(reader)
}

/// A verifier that compares an export with anchors, too.
#[derive(Debug, Clone, Default)]
pub struct Verify {
    anchors: BTreeMap<u64, [u8; 32]>,
}

/// The maximum of bytes of a line; a frame is far smaller.
const LONGEST: u64 = 64 << 20;

impl Verify {
    /// Returns a verifier without anchors.
    pub fn new() -> Self {
        Verify::default()
    }

    /// Adds an anchor: the log must be the one from which it was taken. An anchor at the last event of an earlier file
    /// shows that the two files belong together; an anchor beyond the end of the file shows that the file was cut off.
    #[must_use]
    pub fn anchor(mut self, anchor: Anchor) -> Self {
        self.anchors.insert(anchor.seq, anchor.digest);
        self
    }

    /// Verifies an export: see [`verify`].
    ///
    /// # Errors
    ///
    /// Those of [`verify`]; or the log is not that of an anchor, or can't be held against it.
    pub fn read(&self, reader: impl BufRead) -> Result<Summary, Tampered> {
        let mut lines = Lines { reader, line: Vec::new(), number: 0 };
        let header = lines.next()?.and_then(Header::decode).ok_or(Tampered::NoExport)?;
        let (after, through) = (Anchor::from(header.after), Anchor::from(header.through));
        if let Some((seq, digest)) = self.anchors.first_key_value().filter(|(seq, _)| **seq < after.seq) {
            return Err(Tampered::BeforeAll(Anchor { seq: *seq, digest: *digest }));
        }
        let begins = after.seq > 0 || after == Anchor::BEGINNING;
        let ends = through.seq > after.seq || through == after;
        if !begins || !ends {
            return Err(Tampered::NoExport);
        }

        let mut last = after;
        self.check(last)?;
        while last.seq < through.seq {
            let due = last.seq + 1;
            let number = lines.number + 1;
            let line = lines.next()?.ok_or(Tampered::Cut { seq: due })?;
            last = event(line, &header.room_id, last).map_err(|error| error.at(number))?;
            self.check(last)?;
        }
        if last != through {
            return Err(Tampered::Unanchored(through));
        }
        if lines.next()?.is_some() {
            return Err(Tampered::Longer { seq: last.seq + 1 });
        }
        if self.anchors.last_key_value().is_some_and(|(seq, _)| *seq > last.seq) {
            return Err(Tampered::Cut { seq: last.seq + 1 });
        }
        Ok(Summary { room_id: header.room_id, epoch: header.epoch, after, through })
    }

    fn check(&self, Anchor { seq, digest }: Anchor) -> Result<(), Tampered> {
        match self.anchors.get(&seq) {
            Some(anchor) if *anchor != digest => Err(Tampered::Unanchored(Anchor { seq, digest: *anchor })),
            _ => Ok(()),
        }
    }
}

/// Parses the event that has to follow `last`.
fn event(line: &[u8], room_id: &str, last: Anchor) -> Result<Anchor, Tampered> {
    let due = last.seq + 1;
    // The caller knows the number of the line.
    let garbled = |_| Tampered::Garbled { line: 0, due };
    let Line { digest, frame } = serde_json::from_slice(line).map_err(garbled)?;
    let AuditedFrame { room_id: found, seq } = serde_json::from_str(frame.get()).map_err(garbled)?;
    if seq > due {
        return Err(Tampered::Missing { seq: due, found: seq });
    }
    if seq < due {
        return Err(Tampered::Misplaced { seq, due });
    }
    if found != room_id || link(Some(&last.digest), frame.get().as_bytes()) != digest {
        return Err(Tampered::Altered { seq });
    }
    Ok(Anchor { seq, digest })
}

impl Tampered {
    fn at(self, line: u64) -> Self {
        match self {
            Tampered::Garbled { due, .. } => Tampered::Garbled { line, due },
            other => other,
        }
    }
}

/// The lines of a reader, one at a time.
struct Lines<R> {
    reader: R,
    line: Vec<u8>,
    /// The number of the last line that was read, from 1.
    number: u64,
}

impl<R: BufRead> Lines<R> {
    fn next(&mut self) -> Result<Option<&[u8]>, Tampered> {
        self.line.clear();
        self.number += 1;
        let mut rest = std::io::Read::take(&mut self.reader, LONGEST);
        let read = rest.read_until(b'\n', &mut self.line);
        let read = read.map_err(|source| Tampered::Unreadable { line: self.number, source })?;
        Ok((read > 0).then_some(&self.line))
    }
}
