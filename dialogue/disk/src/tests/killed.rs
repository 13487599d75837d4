//! A process is killed in the middle of writing, 20 times; every acknowledged event must survive.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    process::Stdio,
};

use bytes::Bytes;

use super::*;

const ROOMS: u64 = 5;
/// The number of the room whose old events are trimmed.
const TRIMMED: u64 = 0;

fn room(number: u64) -> String {
    format!("project:{number}")
}

/// Appends bursts to several rooms, and prints each acknowledged event, until the process is killed.
#[tokio::test]
#[ignore = "run, and killed, by `nothing_acknowledged_is_lost`"]
async fn writes_until_killed() {
    let disk = Disk::open(passed_directory()).expect("opened");
    for burst in 1_u64.. {
        let mut appends = Vec::new();
        for number in 0..ROOMS {
            appends.push(burst_for(&disk, number, 1 + (burst * 7 + number) % 40).await);
        }
        disk.append(appends.clone()).await.expect("appended");
        let mut output: String = appends.iter().flat_map(lines).collect();
        let mark = burst.to_string();
        disk.put(vec![("mark/burst".into(), Some(mark.clone().into()))]).await.expect("put");
        output += &format!("mark {mark}\n");
        std::io::stdout().write_all(output.as_bytes()).expect("stdout is open");
        disk.trim(&room(TRIMMED), trim(appends[0].events[0].seq.saturating_sub(100), 0))
            .await
            .expect("trimmed");
    }
}

/// Returns the next events for a room, and checks that the log has the key of its newest event.
async fn burst_for(disk: &Disk, number: u64, events: u64) -> Append {
    let head = disk.head(&room(number)).await.expect("read");
    let last = head.map_or(0, |head| head.last.seq);
    let keys = disk.keys(&room(number), 0).await.expect("read");
    let used =
        keys.last().map_or(0, |key| key.key.strip_prefix("key-").expect("ours").parse().expect("a number"));
    assert_eq!(used, last, "a key is lost or duplicated");
    append(&room(number), (last + 1..=last + events).map(event))
}

fn lines(append: &Append) -> Vec<String> {
    append
        .events
        .iter()
        .map(|event| format!("{} {} {}\n", append.room_id, event.seq, event.event_id))
        .collect()
}

/// The writes that the killed processes reported as acknowledged.
#[derive(Default)]
struct Acknowledged {
    ids: BTreeMap<(String, u64), String>,
    mark: Option<String>,
}

impl Acknowledged {
    fn record(&mut self, line: &str) {
        match *line.split(' ').collect::<Vec<_>>() {
            ["mark", mark] => self.mark = Some(mark.into()),
            [room, seq, id] if room.starts_with("project:") => {
                self.ids.insert((room.into(), seq.parse().expect("a number")), id.into());
            }
            // A line of the test harness.
            _ => {}
        }
    }
}

/// Runs a process over the store, kills it once it has printed `kill_after` lines, and reads its output to the end.
fn run_and_kill(scratch: &Scratch, acknowledged: &mut Acknowledged, kill_after: usize) {
    let mut child = test_command("killed::writes_until_killed", &scratch.0)
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    let (mut lines_read, mut line) = (0, String::new());
    while out.read_line(&mut line).expect("text") > 0 {
        // The last line may be cut off.
        if line.ends_with('\n') {
            acknowledged.record(line.trim_end());
        }
        lines_read += 1;
        if lines_read == kill_after {
            child.kill().expect("killed");
        }
        line.clear();
    }
    let ended = child.wait().expect("ended");
    assert!(
        lines_read >= kill_after && !ended.success(),
        "it ended by itself, {ended}, after {lines_read} lines"
    );
}

async fn check(scratch: &Scratch, acknowledged: &Acknowledged) {
    let disk = scratch.open();
    for number in 0..ROOMS {
        let events = all(&disk, &room(number)).await;
        let (first, last) = (events[0].seq, events[events.len() - 1].seq);
        assert_eq!(numbers(&events), (first..=last).collect::<Vec<_>>(), "a hole in {}", room(number));
        assert!(first == 1 || number == TRIMMED, "the first events of {} are lost", room(number));
        let kept: BTreeMap<_, _> = events.into_iter().map(|event| (event.seq, event)).collect();
        for ((_, seq), id) in
            acknowledged.ids.iter().filter(|((of, seq), _)| *of == room(number) && *seq >= first)
        {
            let event = kept.get(seq).unwrap_or_else(|| panic!("event {seq} of {} is lost", room(number)));
            assert_eq!((event.event_id.as_str(), &event.data), (&**id, &super::event(*seq).data));
        }
        let keys = disk.keys(&room(number), 0).await.expect("read");
        let all_keys: Vec<_> = (last.saturating_sub(9_999).max(1)..=last).collect();
        assert_eq!(keys.iter().map(|key| key.seq).collect::<Vec<_>>(), all_keys, "keys of {}", room(number));
    }
    let mark = disk.get("mark/burst").await.expect("got").expect("a mark");
    assert!(
        acknowledged
            .mark
            .as_ref()
            .is_none_or(|acknowledged| number(&mark) >= acknowledged.parse().expect("a number"))
    );
}

fn number(mark: &Bytes) -> u64 {
    std::str::from_utf8(mark).expect("text").parse().expect("a number")
}

#[tokio::test]
async fn nothing_acknowledged_is_lost() {
    let (scratch, mut acknowledged) = (Scratch::new(), Acknowledged::default());
    for round in 0..20 {
        // Each process begins with burst 1 again.
        acknowledged.mark = None;
        run_and_kill(&scratch, &mut acknowledged, 150 + 61 * round);
        check(&scratch, &acknowledged).await;
    }
    assert!(acknowledged.ids.len() > 5_000, "only {} events were acknowledged", acknowledged.ids.len());
}
