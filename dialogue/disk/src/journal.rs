//! Checks and repairs the write-ahead log of the storage engine (fjall calls it a journal), before the engine opens it.
//!
//! The engine itself truncates a journal silently at the first batch that it can't read, and refuses to open one whose
//! last batch was written in part. This module distinguishes the two cases. A torn batch at the end was never
//! acknowledged: it is cut off, with a warning in the log. A corrupt batch in front of complete ones is data loss, and
//! an error.
//!
//! The format of fjall 3.1, all integers little endian:
//!
//! ```text
//! batch  1, 4 bytes count of entries, 8 bytes batch number; the entries; 3, 8 bytes XXH3 over the entries, "FJL", 3
//! entry  2, 1 byte kind, 1 byte compression, 8 bytes keyspace, 2 bytes key length, 4 bytes uncompressed value length,
//!        4 bytes value length; key, value
//!        or 4, 8 bytes keyspace (clear)
//! ```

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use dialogue_core::store::StoreError;
use xxhash_rust::xxh3::Xxh3;

const BATCH_START: u8 = 1;
const ITEM: u8 = 2;
const BATCH_END: u8 = 3;
const CLEAR: u8 = 4;
const TRAILER: &[u8] = b"FJL\x03";

/// The state of a journal's end, with an offset in bytes.
#[derive(Debug, PartialEq, Eq)]
enum JournalEnd {
    /// The last batch is complete, and ends at this offset.
    Intact(u64),
    /// The last batch is incomplete, and begins at this offset.
    Torn(u64),
    /// There are complete batches behind unreadable bytes at this offset.
    Corrupt(u64),
}

/// Truncates the newest journal behind its last complete batch.
///
/// # Errors
///
/// A journal is corrupt, or can't be read or truncated.
pub(super) fn repair(engine: &Path) -> Result<(), StoreError> {
    let journals = list_journals(engine).map_err(|source| failed(engine, source))?;
    for (index, path) in journals.iter().enumerate() {
        match find_end(path).map_err(|source| failed(path, source))? {
            JournalEnd::Intact(_) => {}
            JournalEnd::Torn(end) if index + 1 == journals.len() => {
                truncate(path, end).map_err(|source| failed(path, source))?;
                tracing::warn!(
                    "the journal {} ended within a write: repaired, nothing acknowledged is lost",
                    path.display()
                );
            }
            JournalEnd::Torn(at) | JournalEnd::Corrupt(at) => {
                return Err(StoreError::new(format!(
                    "the journal {} is damaged at byte {at}, before events that were acknowledged: restore a backup \
                     of the directory, or truncate the file there to go on without them",
                    path.display()
                )));
            }
        }
    }
    Ok(())
}

/// Rewrites the newest journal's bytes in place and syncs them. After a failed write or `fsync`, the page cache may
/// hold unwritten pages that are marked clean, so that a later `fsync` succeeds without writing them ([Rebello et al.,
/// 2020](https://www.usenix.org/conference/atc20/presentation/rebello)).
///
/// # Errors
///
/// The journal can't be read, written or synced.
pub(super) fn rewrite(engine: &Path) -> Result<(), StoreError> {
    let journals = list_journals(engine).map_err(|source| failed(engine, source))?;
    let Some(path) = journals.last() else { return Ok(()) };
    let rewrite = || {
        let (JournalEnd::Intact(end) | JournalEnd::Torn(end) | JournalEnd::Corrupt(end)) = find_end(path)?;
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

/// Returns the paths of the journals, oldest first.
fn list_journals(engine: &Path) -> io::Result<Vec<PathBuf>> {
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

fn truncate(path: &Path, end: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(end)?;
    file.sync_all()
}

fn failed(path: &Path, source: io::Error) -> StoreError {
    StoreError::new(format!("can't read or repair {}", path.display())).with_source(source)
}

fn find_end(path: &Path) -> io::Result<JournalEnd> {
    let mut file = BufReader::with_capacity(256 << 10, File::open(path)?);
    let mut end = 0;
    while let Some(bytes) = if_complete(read_batch(&mut file))? {
        end += bytes;
    }
    let mut rest = Vec::new();
    file.seek(SeekFrom::Start(end))?;
    // The engine preallocates space, which reads as zeros.
    if only_zeros(&mut file)? {
        return Ok(JournalEnd::Intact(end));
    }
    file.seek(SeekFrom::Start(end))?;
    file.read_to_end(&mut rest)?;
    // A complete batch can't be found inside another one: the byte that begins a batch doesn't occur in JSON.
    let starts = rest.iter().enumerate().filter(|(_, byte)| **byte == BATCH_START);
    for (at, _) in starts {
        if if_complete(read_batch(&mut rest.get(at..).unwrap_or_default()))?.is_some() {
            return Ok(JournalEnd::Corrupt(end));
        }
    }
    Ok(JournalEnd::Torn(end))
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

/// Turns the errors of an incomplete or malformed batch into `None`.
fn if_complete(read: io::Result<u64>) -> io::Result<Option<u64>> {
    match read {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads one batch, and returns its length in bytes.
fn read_batch(from: &mut impl Read) -> io::Result<u64> {
    let (mut head, mut hash, mut entry) = (Vec::new(), Xxh3::new(), Vec::new());
    expect(from, &mut head, &[BATCH_START])?;
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
    expect(from, &mut end, &[BATCH_END])?;
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

    /// Returns a batch of one entry.
    fn batch(value: &[u8]) -> Vec<u8> {
        let mut entry = vec![ITEM, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0];
        entry.extend([u32::try_from(value.len()).expect("short").to_le_bytes(); 2].concat());
        entry.push(b'k');
        entry.extend(value);
        let head = [vec![BATCH_START, 1, 0, 0, 0], 7_u64.to_le_bytes().into()].concat();
        let end = [vec![BATCH_END], xxhash_rust::xxh3::xxh3_64(&entry).to_le_bytes().into(), TRAILER.into()]
            .concat();
        [head, entry, end].concat()
    }

    fn end_of(bytes: &[u8]) -> JournalEnd {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("dialogue-journal-{}-{number}", std::process::id()));
        fs::write(&path, bytes).expect("written");
        let end = find_end(&path).expect("read");
        fs::remove_file(path).expect("removed");
        end
    }

    #[test]
    fn an_intact_journal_ends_after_its_last_batch() {
        let batches = [batch(b"1"), batch(b"22")].concat();
        let end = batches.len() as u64;
        assert_eq!(end_of(&batches), JournalEnd::Intact(end));
        assert_eq!(end_of(&[&batches[..], &[0; 4_096]].concat()), JournalEnd::Intact(end));
        assert_eq!(end_of(b""), JournalEnd::Intact(0));
    }

    #[test]
    fn a_batch_cut_off_anywhere_is_torn() {
        let (first, second) = (batch(b"1"), batch(b"22"));
        for len in 1..second.len() {
            let torn = [&first[..], &second[..len], &[0; 64]].concat();
            assert_eq!(end_of(&torn), JournalEnd::Torn(first.len() as u64), "{len} bytes of the second");
        }
    }

    #[test]
    fn a_last_batch_with_a_wrong_checksum_is_torn() {
        let (first, mut second) = (batch(b"1"), batch(b"22"));
        let value = second.len() - 14;
        second[value] = 0;
        assert_eq!(end_of(&[&first[..], &second].concat()), JournalEnd::Torn(first.len() as u64));
    }

    #[test]
    fn an_unreadable_batch_before_a_complete_one_is_corrupt() {
        let (first, last) = (batch(b"1"), batch(b"333"));
        for at in 0..batch(b"22").len() {
            let mut second = batch(b"22");
            second[at] ^= 0x40;
            // The checksum doesn't cover the batch's number.
            if !(5..13).contains(&at) {
                let corrupt = [&first[..], &second, &last].concat();
                assert_eq!(end_of(&corrupt), JournalEnd::Corrupt(first.len() as u64), "byte {at}");
            }
        }
    }
}
