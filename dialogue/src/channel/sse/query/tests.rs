use http::HeaderValue;
use proptest::{collection::vec, prelude::*};

use super::*;
use crate::wire::stream_position;

fn parse(query: &str, last: Option<&str>) -> Result<StreamQuery, Refusal> {
    let mut headers = HeaderMap::new();
    if let Some(last) = last {
        headers.insert("last-event-id", HeaderValue::from_str(last).expect("a header is ASCII"));
    }
    StreamQuery::parse(query, &headers)
}

fn query_of(rooms: &[String]) -> form_urlencoded::Serializer<'static, String> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for room in rooms {
        query.append_pair("room", room);
    }
    query
}

proptest! {
    #[test]
    fn last_event_id_restores_the_positions(
        at in vec(("[a-z]{1,4}(:[^\\p{Cc}]{0,40})?", "[A-Za-z0-9_-]{1,11}", 0..u64::MAX, "[A-Za-z0-9_-]{0,11}"), 1..=16),
    ) {
        let rooms: Vec<_> = at.iter().map(|(room, ..)| room.clone()).collect();
        let id = at.iter().map(|(room, epoch, seq, event)| stream_position(room, epoch, *seq, event));
        let id = id.collect::<Vec<_>>().join(";");
        let by_header = parse(&query_of(&rooms).finish(), Some(&id)).expect("our own id");
        let by_query = parse(&query_of(&rooms).append_pair("since", &id).finish(), None).expect("our own id");
        for room in &rooms {
            // The first occurrence of a room counts.
            let (_, epoch, seq, event) = at.iter().find(|(named, ..)| named == room).expect("it is there");
            let since = Position { epoch: epoch.clone(), seq: *seq, event_id: event.clone() };
            prop_assert_eq!(by_header.since(room), Some(&since));
            prop_assert_eq!(by_query.since(room), Some(&since));
        }
    }

    #[test]
    fn any_query_is_parsed_or_refused(query: String, last in "[ -~]{0,60}") {
        let _ = parse(&query, Some(&last));
    }
}

#[test]
fn last_event_id_takes_precedence_over_since() {
    let query =
        parse("room=chat&room=feed&since=chat%3De.1.a%3Bfeed%3De.2.b", Some("chat=e.9.c")).expect("valid");
    assert_eq!(query.since("chat").map(|at| at.seq), Some(9));
    assert_eq!(query.since("feed").map(|at| at.seq), Some(2));
}

#[test]
fn positions_of_other_rooms_are_ignored() {
    let strangers: Vec<_> = (0..20_000).map(|n| format!("r{n}=e.1.")).collect();
    let query = parse("room=chat", Some(&format!("{};chat=e.3.x", strangers.join(";")))).expect("valid");
    assert_eq!((query.since.len(), query.since("chat").map(|at| at.seq)), (1, Some(3)));
}

#[test]
fn the_number_of_rooms_is_bounded() {
    let rooms = |count: usize| (0..count).map(|n| format!("r{n}")).collect::<Vec<_>>();
    assert_eq!(parse(&query_of(&rooms(16)).finish(), None).map(|query| query.rooms), Ok(rooms(16)));
    for bad in [String::new(), query_of(&rooms(17)).finish(), query_of(&rooms(9_999)).finish()] {
        assert!(parse(&bad, None).is_err_and(|refusal| refusal.message.starts_with("`room`")));
    }
}

const BROKEN: [&str; 10] = [
    "chat=e",
    "chat=e.1",
    "chat=e.-1.x",
    "chat=e.+1.x",
    "chat=e.99999999999999999999.x",
    "chat=e.1.a b",
    "chat=e\u{e9}.1.x",
    "chat=e.1.x.y",
    "chat=",
    "chat=e%2E1%2Ex",
];

#[test]
fn a_malformed_since_is_refused() {
    let longer = format!("chat={:e<65}.1.x", "");
    let raw = "chat=e\n\nevent: message\ndata: {}\n\n.1.x";
    for bad in BROKEN.into_iter().chain([&*longer, raw, "chat", ";", "a%FF=e.1.x", "feed=e"]) {
        let query = query_of(&["chat".to_owned()]).append_pair("since", bad).finish();
        assert!(parse(&query, None).is_err(), "{bad}");
    }
}

#[test]
fn a_malformed_last_event_id_matches_no_log() {
    let lost = Position::default();
    for bad in BROKEN {
        let mut headers = HeaderMap::new();
        headers.insert("last-event-id", HeaderValue::from_bytes(bad.as_bytes()).expect("without controls"));
        let query =
            StreamQuery::parse("room=chat&room=feed&since=chat%3De.1.a", &headers).expect("a valid address");
        assert_eq!((query.since("chat"), query.since("feed")), (Some(&lost), None), "{bad}");
    }
    for bad in ["chat", ";", "a%FF=e.1.x"] {
        let query = parse("room=chat&room=feed", Some(bad)).expect("a valid address");
        assert_eq!((query.since("chat"), query.since("feed")), (Some(&lost), Some(&lost)), "{bad}");
    }
}
