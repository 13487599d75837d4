//! Whatever has a form on the wire is an event.
use dialogue::{
    Event,
    event::{DeliveryClass, Filtered, Sender},
};

#[dialogue::event]
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NewPost {
    pub title: String,
}

#[dialogue::event]
pub struct Unit;

#[dialogue::event(latest = 0)]
pub struct Newtype(pub u64);

#[dialogue::event(name = "a:b.c/d")]
pub struct Pair(pub u8, pub String);

/// serde's attributes hold.
#[dialogue::event]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Shape {
    Circle { radius: f32 },
    Square { side: f32 },
}

#[dialogue::event(ephemeral, from = server)]
pub struct HTTPError {
    pub r#type: String,
}

#[dialogue::event(latest = user_id)]
#[serde(rename_all = "camelCase")]
pub struct Cursor {
    pub user_id: String,
    #[validate(range(max = 100))]
    pub line_number: u32,
    #[validate(length(min = 1))]
    #[serde(rename = "t")]
    pub text: String,
}

#[dialogue::event(crate = dialogue)]
pub struct Elsewhere;

/// Marks stand beside what others read.
#[dialogue::event]
pub struct Note {
    #[filter]
    #[serde(rename = "t")]
    #[validate(length(min = 1))]
    pub text: Option<String>,
    #[filter]
    pub lines: Vec<Line>,
    pub link: String,
}

#[dialogue::event]
pub enum Line {
    Nothing,
    One(#[filter] String, String),
    Two {
        #[filter]
        upper: Box<Option<String>>,
        #[filter]
        r#type: String,
        at: u64,
    },
}

/// It has text, and none for filters.
#[dialogue::event]
pub struct Pointer(#[filter(skip)] pub String);

#[test]
fn filters_see_what_is_marked() {
    let two = Line::Two { upper: Box::new(Some("c".into())), r#type: "d".into(), at: 1 };
    let lines = vec![Line::Nothing, Line::One("b".into(), "no".into()), two];
    let mut note = Note { text: Some("a".into()), lines, link: "no".into() };
    let mut seen = String::new();
    note.each_text(&mut |text| seen.push_str(text));
    Unit.each_text(&mut |_| unreachable!());
    Newtype(1).each_text(&mut |_| unreachable!());
    Pointer("no".into()).each_text(&mut |_| unreachable!());
    assert_eq!(seen, "abcd");
    assert_eq!(Pointer::SHAPE, "struct Pointer ( String ) ;");
}

#[test]
fn what_is_said_of_them_holds() {
    assert_eq!(NewPost::NAME, "new-post");
    assert_eq!(HTTPError::NAME, "http-error");
    assert_eq!(Pair::NAME, "a:b.c/d");
    assert_eq!((HTTPError::CLASS, HTTPError::SENDER), (DeliveryClass::Ephemeral, Sender::Server));
    assert_eq!((NewPost::CLASS, NewPost::SENDER), (DeliveryClass::Durable, Sender::Anyone));
    assert_eq!(Newtype(7).conflation_key().as_deref(), Some("7"));
    assert_eq!(NewPost::default().conflation_key(), None);
    assert_eq!(NewPost::SHAPE, "struct NewPost { title : String }");
    assert_eq!(Elsewhere::SHAPE, "struct Elsewhere ;");
}

#[test]
fn rules_speak_of_the_wire() {
    let cursor = Cursor { user_id: "u".into(), line_number: 101, text: String::new() };
    let paths: Vec<_> = cursor.check().unwrap_err().into_iter().map(|detail| detail.path).collect();
    assert_eq!(paths, ["/lineNumber", "/t"]);
}
