//! The options of `#[room(…)]`.
use std::time::Duration;

use dialogue::{PerTime, Rate, Room, room::Retention};

#[dialogue::event]
pub struct Message {
    pub text: String,
}

#[dialogue::event]
pub struct Poke;

dialogue::rooms! {
    bare: [Message] via [websocket];

    /**
     * The first
     * paragraph.
     *
     * The second.
     */
    #[room(name = "For people", description, capacity = 0x10, sync = 1_0)]
    #[room(retain(events = 10, bytes = 2MiB, age = 500ms))]
    full: [Message, Poke] via [websocket];

    /// For readers of the code.
    documented: [Message] via [websocket];

    /// For readers of the code.
    #[room(description = "For clients")]
    described: [Message] via [websocket];

    #[room(limit = 5 per 500ms)]
    limited: [Message] via [websocket];

    #[room(limit = 1_000 per 1m burst 2)]
    burst: [Message] via [websocket];

    #[room(retain(age = 1h), subscribe = [])]
    nothing: [Message] via [websocket];

    #[room(subscribe = [Push, Message],)]
    named: [Message, Poke as Push] via [websocket];
}

#[test]
fn what_is_said_is_kept() {
    let bare = Bare::OPTIONS;
    assert_eq!((bare.title, bare.description, bare.capacity, bare.sync), (None, None, None, 0));
    assert_eq!((bare.retention, bare.subscribe), (Retention::new(), None));
    let full = Full::OPTIONS;
    assert_eq!((full.title, full.description), (Some("For people"), Some("The first paragraph.")));
    assert_eq!(Documented::OPTIONS.description, None);
    assert_eq!(Described::OPTIONS.description, Some("For clients"));
    assert_eq!((full.capacity, full.sync), (Some(16), 10));
    assert_eq!((full.retention.events, full.retention.bytes), (Some(10), Some(2 << 20)));
    assert_eq!(full.retention.age, Some(Duration::from_millis(500)));
    assert_eq!(Limited::OPTIONS.limit, Some(Rate::new(5, Duration::from_millis(500))));
    assert_eq!(Burst::OPTIONS.limit, Some(1_000.per_minute().burst(2)));
    assert_eq!(Nothing::OPTIONS.subscribe, Some(&[][..]));
    assert_eq!(Nothing::OPTIONS.retention, Retention::new().age(Duration::from_secs(3_600)));
    assert_eq!(Named::OPTIONS.subscribe, Some(&["poke", "message"][..]));
}
