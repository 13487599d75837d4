//! A process is killed in the middle of writing, 20 times; what it was told is done is there.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    process::Stdio,
};

use bytes::Bytes;

use super::*;

const ROOMS: u64 = 5;
/// The room whose old events are trimmed.
const TRIMMED: u64 = 0;

fn room(number: u64) -> String {
    format!("project:{number}")
}

/// Appends bursts to several rooms, and says what is done, until it is killed.
#[tokio::test]
#[ignore = "run, and killed, by `nothing_acknowledged_is_lost`"]
async fn writes_until_killed() {
    let disk = Disk::open(named()).expect("opened");
    for burst in 1_u64.. {
        let mut appends = Vec::new();
        for number in 0..ROOMS {
            appends.push(burst_for(&disk, number, 1 + (burst * 7 + number) % 40).await);
        }
        disk.append(appends.clone()).await.expect("appended");
        let mut said: String = appends.iter().flat_map(lines).collect();
        let mark = burst.to_string();
        disk.put(vec![("mark/burst".into(), Some(mark.clone().into()))]).await.expect("put");
        said += &format!("mark {mark}\n");
        std::io::stdout().write_all(said.as_bytes()).expect("somebody listens");
        disk.trim(&room(TRIMMED), trim(appends[0].events[0].seq.saturating_sub(100), 0))
            .await
            .expect("trimmed");
    }
}

/// The next events for a room, under the keys that its newest don't have yet.
async fn burst_for(disk: &Disk, number: u64, events: u64) -> Append {
    let head = disk.head(&room(number)).await.expect("told");
    let last = head.map_or(0, |head| head.last.seq);
    let keys = disk.keys(&room(number), 0).await.expect("told");
    let used =
        keys.last().map_or(0, |key| key.key.strip_prefix("key-").expect("ours").parse().expect("a number"));
    assert_eq!(used, last, "a key is lost, or there twice");
    append(&room(number), (last + 1..=last + events).map(event))
}

fn lines(append: &Append) -> Vec<String> {
    append
        .events
        .iter()
        .map(|event| format!("{} {} {}\n", append.room_id, event.seq, event.event_id))
        .collect()
}

/// What the killed processes said was done.
#[derive(Default)]
struct Said {
    ids: BTreeMap<(String, u64), String>,
    mark: Option<String>,
}

impl Said {
    fn hear(&mut self, line: &str) {
        match *line.split(' ').collect::<Vec<_>>() {
            ["mark", mark] => self.mark = Some(mark.into()),
            [room, seq, id] if room.starts_with("project:") => {
                self.ids.insert((room.into(), seq.parse().expect("a number")), id.into());
            }
            // The harness's own lines.
            _ => {}
        }
    }
}

/// Runs a process over the store, kills it when it has said so many lines, and hears it to its end.
fn run_and_kill(scratch: &Scratch, said: &mut Said, after: usize) {
    let mut child =
        alone("killed::writes_until_killed", &scratch.0).stdout(Stdio::piped()).spawn().expect("started");
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    let (mut heard, mut line) = (0, String::new());
    while out.read_line(&mut line).expect("text") > 0 {
        // The last may be cut off.
        if line.ends_with('\n') {
            said.hear(line.trim_end());
        }
        heard += 1;
        if heard == after {
            child.kill().expect("killed");
        }
        line.clear();
    }
    let ended = child.wait().expect("ended");
    assert!(heard >= after && !ended.success(), "it ended by itself, {ended}, after {heard} lines");
}

async fn check(scratch: &Scratch, said: &Said) {
    let disk = scratch.open();
    for number in 0..ROOMS {
        let events = all(&disk, &room(number)).await;
        let (first, last) = (events[0].seq, events[events.len() - 1].seq);
        assert_eq!(numbers(&events), (first..=last).collect::<Vec<_>>(), "a hole in {}", room(number));
        assert!(first == 1 || number == TRIMMED, "the beginning of {} is gone", room(number));
        let kept: BTreeMap<_, _> = events.into_iter().map(|event| (event.seq, event)).collect();
        for ((_, seq), id) in said.ids.iter().filter(|((of, seq), _)| *of == room(number) && *seq >= first) {
            let event = kept.get(seq).unwrap_or_else(|| panic!("event {seq} of {} is gone", room(number)));
            assert_eq!((event.event_id.as_str(), &event.data), (&**id, &super::event(*seq).data));
        }
        let keys = disk.keys(&room(number), 0).await.expect("told");
        let all_keys: Vec<_> = (last.saturating_sub(9_999).max(1)..=last).collect();
        assert_eq!(keys.iter().map(|key| key.seq).collect::<Vec<_>>(), all_keys, "keys of {}", room(number));
    }
    let mark = disk.get("mark/burst").await.expect("got").expect("a mark");
    assert!(said.mark.as_ref().is_none_or(|said| number(&mark) >= said.parse().expect("a number")));
}

fn number(mark: &Bytes) -> u64 {
    std::str::from_utf8(mark).expect("text").parse().expect("a number")
}

#[tokio::test]
async fn nothing_acknowledged_is_lost() {
    let (scratch, mut said) = (Scratch::new(), Said::default());
    for round in 0..20 {
        // Bursts of each process begin with the first again.
        said.mark = None;
        run_and_kill(&scratch, &mut said, 150 + 61 * round);
        check(&scratch, &said).await;
    }
    assert!(said.ids.len() > 5_000, "only {} events were acknowledged", said.ids.len());
}
