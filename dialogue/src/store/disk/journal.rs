//! The engine's journals, looked at before the engine does.
//!
//! By itself the engine cuts a journal off at the first place it can't read, without a word, and refuses to open one whose
//! last write came to the disk in part. So the end of a journal is told apart from damage here: what is torn was never
//! acknowledged, and goes, with a line in the log; what is damaged in front of whole writes is an error.
//!
//! ```text
//! a write   1, 4 bytes of how many entries, 8 bytes; entries; 3, 8 bytes of XXH3 over the entries, "FJL" and 3
//! an entry  2, kind, compression, 8 bytes, 2 bytes of key's length, 4 bytes, 4 bytes of value's length; key, value
//!           or 4, 8 bytes                                                           (numbers are little endian)
//! ```

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use xxhash_rust::xxh3::Xxh3;

use super::super::StoreError;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const TRAILER: &[u8] = b"FJL\x03";

/// How a journal ends.
#[derive(Debug, PartialEq, Eq)]
enum Ending {
    /// After a whole write, at this byte.
    Whole(u64),
    /// In the middle of one, which begins at this byte.
    Torn(u64),
    /// There are whole writes behind something unreadable at this byte.
    Damaged(u64),
}

/// Cuts off what the newest journal holds of a write that never ended.
///
/// # Errors
///
/// A journal is damaged, or can't be read or cut.
pub(super) fn mend(engine: &Path) -> Result<(), StoreError> {
    let journals = journals(engine).map_err(|source| failed(engine, source))?;
    for (place, path) in journals.iter().enumerate() {
        match ending(path).map_err(|source| failed(path, source))? {
            Ending::Whole(_) => {}
            Ending::Torn(end) if place + 1 == journals.len() => {
                cut(path, end).map_err(|source| failed(path, source))?;
                tracing::warn!(
                    "the journal {} ended within a write: repaired, nothing acknowledged is lost",
                    path.display()
                );
            }
            Ending::Torn(at) | Ending::Damaged(at) => {
                return Err(StoreError::new(format!(
                    "the journal {} is damaged at byte {at}, before events that were acknowledged: put back a copy \
                     of the directory, or cut the file there to go on without them",
                    path.display()
                )));
            }
        }
    }
    Ok(())
}

/// Writes the newest journal's bytes once more, since after a failure it isn't known which of them are on the disk: what
/// the system couldn't write it may hold for written.
///
/// # Errors
///
/// It can't be read, or not be written.
pub(super) fn rewrite(engine: &Path) -> Result<(), StoreError> {
    let journals = journals(engine).map_err(|source| failed(engine, source))?;
    let Some(path) = journals.last() else { return Ok(()) };
    let rewrite = || {
        let (Ending::Whole(end) | Ending::Torn(end) | Ending::Damaged(end)) = ending(path)?;
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        let (mut at, mut part) = (0, Vec::new());
        while at < end {
            part.clear();
            file.seek(SeekFrom::Start(at))?;
            let read = Read::by_ref(&mut file).take((end - at).min(1 << 20)).read_to_end(&mut part)?;
            file.seek(SeekFrom::Start(at))?;
            file.write_all(&part)?;
            at += u64::try_from(read).unwrap_or(0).max(1);
        }
        file.sync_all()
    };
    rewrite().map_err(|source| failed(path, source))
}

/// Journals, oldest first.
fn journals(engine: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(engine)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".jnl"));
        if let Some(number) = name.and_then(|name| name.parse::<u64>().ok()) {
            found.push((number, path));
        }
    }
    found.sort_unstable();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

fn cut(path: &Path, end: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(end)?;
    file.sync_all()
}

fn failed(path: &Path, source: io::Error) -> StoreError {
    StoreError::new(format!("can't read or repair {}", path.display())).source(source)
}

fn ending(path: &Path) -> io::Result<Ending> {
    let mut file = BufReader::with_capacity(256 << 10, File::open(path)?);
    let mut end = 0;
    while let Some(bytes) = whole(write(&mut file))? {
        end += bytes;
    }
    let mut rest = Vec::new();
    file.seek(SeekFrom::Start(end))?;
    // Space is reserved as zeros.
    if only_zeros(&mut file)? {
        return Ok(Ending::Whole(end));
    }
    file.seek(SeekFrom::Start(end))?;
    file.read_to_end(&mut rest)?;
    // No write can be found inside of another: the byte that begins one is in no JSON.
    let starts = rest.iter().enumerate().filter(|(_, byte)| **byte == START);
    for (at, _) in starts {
        if whole(write(&mut rest.get(at..).unwrap_or_default()))?.is_some() {
            return Ok(Ending::Damaged(end));
        }
    }
    Ok(Ending::Torn(end))
}

fn only_zeros(from: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let part = from.fill_buf()?;
        if part.is_empty() || part.iter().any(|byte| *byte != 0) {
            return Ok(part.is_empty());
        }
        let read = part.len();
        from.consume(read);
    }
}

/// Nothing where a write isn't whole.
fn whole(read: io::Result<u64>) -> io::Result<Option<u64>> {
    match read {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads a write, and yields how many bytes it takes.
fn write(from: &mut impl Read) -> io::Result<u64> {
    let (mut head, mut hash, mut entry) = (Vec::new(), Xxh3::new(), Vec::new());
    expect(from, &mut head, &[START])?;
    let entries = u32::from_le_bytes(array(from, &mut head)?);
    let _number: [u8; 8] = array(from, &mut head)?;
    let mut bytes = head.len();
    for _ in 0..entries {
        entry.clear();
        read_entry(from, &mut entry)?;
        hash.update(&entry);
        bytes += entry.len();
    }
    let mut end = Vec::new();
    expect(from, &mut end, &[END])?;
    expect(from, &mut end, &hash.digest().to_le_bytes())?;
    expect(from, &mut end, TRAILER)?;
    Ok((bytes + end.len()) as u64)
}

fn read_entry(from: &mut impl Read, entry: &mut Vec<u8>) -> io::Result<()> {
    match array(from, entry)? {
        [ITEM] => {
            let _kind: [u8; 10] = array(from, entry)?;
            let key = u16::from_le_bytes(array(from, entry)?);
            let _unpacked: [u8; 4] = array(from, entry)?;
            let value = u32::from_le_bytes(array(from, entry)?);
            extend(from, entry, u64::from(key) + u64::from(value))
        }
        [CLEAR] => extend(from, entry, 8),
        _ => Err(ErrorKind::InvalidData.into()),
    }
}

fn expect(from: &mut impl Read, read: &mut Vec<u8>, expected: &[u8]) -> io::Result<()> {
    let begin = read.len();
    extend(from, read, expected.len() as u64)?;
    if read.get(begin..) == Some(expected) { Ok(()) } else { Err(ErrorKind::InvalidData.into()) }
}

fn array<const N: usize>(from: &mut impl Read, read: &mut Vec<u8>) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    read.extend_from_slice(&bytes);
    Ok(bytes)
}

fn extend(from: &mut impl Read, read: &mut Vec<u8>, len: u64) -> io::Result<()> {
    let more = from.take(len).read_to_end(read)?;
    if more as u64 == len { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A write of one entry.
    fn one(value: &[u8]) -> Vec<u8> {
        let mut entry = vec![ITEM, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0];
        entry.extend([u32::try_from(value.len()).expect("short").to_le_bytes(); 2].concat());
        entry.push(b'k');
        entry.extend(value);
        let head = [vec![START, 1, 0, 0, 0], 7_u64.to_le_bytes().into()].concat();
        let end =
            [vec![END], xxhash_rust::xxh3::xxh3_64(&entry).to_le_bytes().into(), TRAILER.into()].concat();
        [head, entry, end].concat()
    }

    fn ending_of(bytes: &[u8]) -> Ending {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("dialogue-journal-{}-{number}", std::process::id()));
        fs::write(&path, bytes).expect("written");
        let ending = ending(&path).expect("read");
        fs::remove_file(path).expect("removed");
        ending
    }

    #[test]
    fn a_journal_ends_after_its_last_write() {
        let writes = [one(b"1"), one(b"22")].concat();
        let end = writes.len() as u64;
        assert_eq!(ending_of(&writes), Ending::Whole(end));
        assert_eq!(ending_of(&[&writes[..], &[0; 4_096]].concat()), Ending::Whole(end));
        assert_eq!(ending_of(b""), Ending::Whole(0));
    }

    #[test]
    fn a_write_cut_off_anywhere_is_torn() {
        let (first, second) = (one(b"1"), one(b"22"));
        for len in 1..second.len() {
            let torn = [&first[..], &second[..len], &[0; 64]].concat();
            assert_eq!(ending_of(&torn), Ending::Torn(first.len() as u64), "{len} bytes of the second");
        }
    }

    #[test]
    fn a_write_that_came_in_part_is_torn() {
        let (first, mut second) = (one(b"1"), one(b"22"));
        let value = second.len() - 14;
        second[value] = 0;
        assert_eq!(ending_of(&[&first[..], &second].concat()), Ending::Torn(first.len() as u64));
    }

    #[test]
    fn what_is_unreadable_before_a_whole_write_is_damage() {
        let (first, last) = (one(b"1"), one(b"333"));
        for at in 0..one(b"22").len() {
            let mut second = one(b"22");
            second[at] ^= 0x40;
            // The number of a write isn't under its checksum.
            if !(5..13).contains(&at) {
                let damaged = [&first[..], &second, &last].concat();
                assert_eq!(ending_of(&damaged), Ending::Damaged(first.len() as u64), "byte {at}");
            }
        }
    }
}
