use bytes::Bytes;
use proptest::prelude::*;

use super::{
    Anchor, Tampered, Verify,
    line::{Header, put_line},
    link, verify,
};
use crate::wire::frame::Event;

/// Returns an export of a log's frames from number `after + 1` on: its first line, and one for each event.
fn lines(after: Anchor, texts: &[String]) -> Vec<Vec<u8>> {
    let (mut last, mut lines) = (after, vec![Vec::new()]);
    for text in texts {
        let seq = last.seq + 1;
        let frame = frame(seq, text);
        last = Anchor { seq, digest: link(Some(&last.digest), &frame) };
        let mut line = Vec::new();
        put_line(&mut line, &last.digest, &frame);
        lines.push(line);
    }
    lines[0] = Header::new("ledger", "k2f9", after, last).encode();
    lines
}

fn frame(seq: u64, text: &str) -> Bytes {
    let text = serde_json::Value::from(text);
    Bytes::from(format!(
        r#"{{"type":"event","roomId":"ledger","event":"entry","data":{{"text":{text}}},"seq":{seq}}}"#
    ))
}

fn found(lines: &[Vec<u8>]) -> Result<u64, Option<u64>> {
    verify(&*lines.concat()).map(|summary| summary.through.seq).map_err(|tampered| tampered.seq())
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec(".{0,30}", 1..12)
}

/// Returns a log, the number of events that were trimmed from it, and the index of one of its events: the first event
/// of a log that was trimmed up to 41 is number 42.
fn log() -> impl Strategy<Value = (Vec<Vec<u8>>, u64, usize)> {
    (texts(), prop_oneof![Just(Anchor::BEGINNING), Just(Anchor { seq: 41, digest: [7; 32] })])
        .prop_flat_map(|(texts, after)| (Just(lines(after, &texts)), Just(after.seq), 1..=texts.len()))
}

proptest! {
    #[test]
    fn a_log_that_nobody_touched_is_found_to_be_so((lines, after, _) in log()) {
        prop_assert_eq!(found(&lines), Ok(after + lines.len() as u64 - 1));
    }

    #[test]
    fn an_event_that_is_altered_anywhere_is_named((mut lines, after, place) in log(), at in any::<prop::sample::Index>(), by in 1_u8..) {
        let end = lines[place].len() - 1;
        let at = at.index(end);
        lines[place][at] ^= by;
        // White space between JSON tokens is not part of the event.
        prop_assume!(!matches!(&lines[place][at], b' ' | b'\t' | b'\r'));
        prop_assert_eq!(found(&lines), Err(Some(after + place as u64)));
    }

    #[test]
    fn an_event_that_is_removed_is_named((mut lines, after, place) in log()) {
        lines.remove(place);
        prop_assert_eq!(found(&lines), Err(Some(after + place as u64)));
    }

    #[test]
    fn of_two_events_that_change_places_the_first_is_named((mut lines, after, place) in log(), other in any::<prop::sample::Index>()) {
        let other = 1 + other.index(lines.len() - 1);
        prop_assume!(other != place);
        lines.swap(place, other);
        prop_assert_eq!(found(&lines), Err(Some(after + place.min(other) as u64)));
    }

    #[test]
    fn an_event_that_is_inserted_is_named((mut lines, after, place) in log(), text in ".{0,30}", fits in any::<bool>()) {
        let (seq, mut line) = (after + place as u64, Vec::new());
        let before = match place {
            1 if after == 0 => [0; 32],
            1 => [7; 32],
            _ => digest(&lines[place - 1]),
        };
        let digest = if fits { link(Some(&before), &frame(seq, &text)) } else { [1; 32] };
        put_line(&mut line, &digest, &frame(seq, &text));
        prop_assume!(line != lines[place]);
        lines.insert(place, line);
        // An altered event whose digest fits is detected at the next event, whose number it took.
        let late = fits && place + 2 < lines.len();
        prop_assert_eq!(found(&lines), Err(Some(if late { seq + 1 } else { seq })));
    }

    #[test]
    fn an_event_that_stands_twice_is_named((mut lines, after, place) in log()) {
        let line = lines[place].clone();
        lines.insert(place, line);
        prop_assert_eq!(found(&lines), Err(Some(after + place as u64 + 1)));
    }

    #[test]
    fn a_log_that_was_written_anew_is_found_by_an_anchor(texts in texts(), place in any::<prop::sample::Index>()) {
        let place = place.index(texts.len());
        let anchor = Anchor { seq: texts.len() as u64, digest: digest(&lines(Anchor::BEGINNING, &texts)[texts.len()]) };
        let mut forged = texts.clone();
        forged[place].push('!');
        let forged = lines(Anchor::BEGINNING, &forged);
        prop_assert!(found(&forged).is_ok());
        let tampered = Verify::new().anchor(anchor).read(&*forged.concat());
        prop_assert!(matches!(tampered, Err(Tampered::Unanchored(found)) if found == anchor), "{:?}", tampered);
        let shorter = lines(Anchor::BEGINNING, &texts[..place]);
        let tampered = Verify::new().anchor(anchor).read(&*shorter.concat());
        prop_assert!(matches!(tampered, Err(Tampered::Cut { seq }) if seq == place as u64 + 1), "{:?}", tampered);
        let whole = lines(Anchor::BEGINNING, &texts);
        prop_assert!(Verify::new().anchor(anchor).anchor(Anchor::BEGINNING).read(&*whole.concat()).is_ok());
    }

    #[test]
    fn no_bytes_are_too_much(bytes in any::<Vec<u8>>(), (mut lines, _, place) in log()) {
        let _ = verify(&*bytes);
        lines[place] = bytes;
        prop_assert!(found(&lines).is_err());
    }
}

fn digest(line: &[u8]) -> [u8; 32] {
    let line: super::line::Line<'_> = serde_json::from_slice(line).expect("the line of an event");
    line.digest
}

#[test]
fn a_file_goes_on_where_the_one_before_ended() {
    let first =
        verify(&*lines(Anchor::BEGINNING, &["a".into(), "b".into()]).concat()).expect("nobody touched it");
    let second = lines(first.through, &["c".into()]).concat();
    let summary = Verify::new().anchor(first.through).read(&*second).expect("it goes on there");
    assert_eq!((summary.after, summary.through.seq), (first.through, 3));
    let other = Anchor { digest: [1; 32], ..first.through };
    assert!(
        matches!(Verify::new().anchor(other).read(&*second), Err(Tampered::Unanchored(at)) if at == other)
    );
    let early = Anchor { seq: 1, digest: [1; 32] };
    assert!(
        matches!(Verify::new().anchor(early).read(&*second), Err(Tampered::BeforeAll(at)) if at == early)
    );
}

#[test]
fn the_first_line_has_to_fit() {
    let mut log = lines(Anchor::BEGINNING, &["a".into(), "b".into()]);
    let end = Anchor { seq: 2, digest: digest(&log[2]) };
    let beginning = Anchor { digest: [1; 32], ..Anchor::BEGINNING };
    for (header, tampered) in [
        (Header::new("other", "k2f9", Anchor::BEGINNING, end), Some(1)),
        (Header::new("ledger", "k2f9", beginning, end), None),
        (
            Header::new("ledger", "k2f9", Anchor::BEGINNING, Anchor { seq: 1, digest: digest(&log[1]) }),
            Some(2),
        ),
        (Header::new("ledger", "k2f9", Anchor::BEGINNING, Anchor { digest: [1; 32], ..end }), Some(2)),
        (Header::new("ledger", "k2f9", Anchor::BEGINNING, Anchor { seq: 3, ..end }), Some(3)),
        (Header::new("ledger", "k2f9", end, Anchor { seq: 1, ..end }), None),
    ] {
        log[0] = header.encode();
        assert_eq!(found(&log), Err(tampered));
    }
}

#[test]
fn a_line_is_laid_out_as_the_docs_say() {
    let lines = lines(Anchor::BEGINNING, &["a".into()]);
    let line = &lines[1];
    assert_eq!(&line[85..line.len() - 2], &*frame(1, "a"));
    let header = String::from_utf8(lines[0].clone()).expect("text");
    let zeros = "0".repeat(64);
    assert!(header.starts_with(&format!(r#"{{"audit":1,"roomId":"ledger","epoch":"k2f9","after":{{"seq":0,"digest":"{zeros}"}},"through":{{"seq":1,"#)));
}

/// Digests are stored, while frames are encoded anew when they are verified: the encoding of an event must never
/// change.
#[test]
fn an_event_is_written_as_ever() {
    let event = Event {
        room_id: "ledger".into(),
        event: "entry".into(),
        data: r#"{"text":"ü"}"#.into(),
        from: "alice".into(),
        timestamp: 1_700_000_000_000,
        event_id: "AAAAAAAAAAA".into(),
        seq: Some(1),
        server: true,
        meta: Some(r#"{"a":1}"#.into()),
    };
    let digest = link(None, &event.to_json());
    let kept = "1:55c91c195c7530dd38457c7796b55f65c0547119fdf1e54d173a6148be1cdb48";
    assert_eq!(Anchor { seq: 1, digest }.to_string(), kept);
}
