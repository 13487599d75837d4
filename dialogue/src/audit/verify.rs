//! Reading an export, event by event.

use std::{collections::BTreeMap, io::BufRead};

use super::{
    Anchor, Tampered,
    line::{Frame, Header, Line},
    link,
};

/// What an export holds that was found to be as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Whose log.
    pub room_id: String,
    /// The log's incarnation, as the file says: it is not proven.
    pub epoch: String,
    /// The event that the file goes on after.
    pub after: Anchor,
    /// The last event: what the next export can be verified by.
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

/// [`verify`], by anchors too.
#[derive(Debug, Clone, Default)]
pub struct Verify {
    anchors: BTreeMap<u64, [u8; 32]>,
}

/// Bytes of a line: a frame is never as large.
const LONGEST: u64 = 64 << 20;

impl Verify {
    /// By nothing but the file itself, so far.
    pub fn new() -> Self {
        Verify::default()
    }

    /// The log has to be the one that this anchor was taken from. Of an event that stands at the end of the file before, it
    /// shows that the two belong together; of one beyond the end of the file, that this was cut off.
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

/// Reads the event that has to follow `last`.
fn event(line: &[u8], room_id: &str, last: Anchor) -> Result<Anchor, Tampered> {
    let due = last.seq + 1;
    // Who asks knows which line it is.
    let garbled = |_| Tampered::Garbled { line: 0, due };
    let Line { digest, frame } = serde_json::from_slice(line).map_err(garbled)?;
    let Frame { room_id: found, seq } = serde_json::from_str(frame.get()).map_err(garbled)?;
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

/// Lines, one at a time.
struct Lines<R> {
    reader: R,
    line: Vec<u8>,
    /// Of the last one read, from 1.
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
