use proptest::prelude::*;

use super::*;
use crate::{Code, wire::request::Field};

/// Reads a frame as each type of request, and checks all fields. Returns the message of the first refusal.
fn refusal(json: &str) -> Option<String> {
    let read = |json| {
        let fields = Fields::parse(json)?;
        fields.id()?;
        fields.kind()?;
        let join: Join<'_> = fields.read()?;
        check_event_count(join.events.map_or(0, |events| events.len()), 256)?;
        join.since.as_ref().map(join::position).transpose()?;
        HISTORY_LIMITS.check(fields.read::<GetHistory<'_>>()?.limit)?;
        let trigger: Trigger<'_> = fields.read()?;
        trigger::checked_key(&trigger)?;
        trigger::checked_meta(&trigger)?;
        fields.read::<ListRooms<'_>>()?;
        create_room::info(&fields.read()?)?;
        Ok::<_, Refusal>(())
    };
    let refusal = read(json).err()?;
    assert_eq!(refusal.code, Code::InvalidRequest, "{json}");
    Some(refusal.message.into_owned())
}

/// Returns a frame with one additional field.
fn with(field: &str) -> String {
    format!(r#"{{"type":"join","roomId":"chat","event":"message","data":{{}},{field}}}"#)
}

#[test]
fn valid_fields_are_accepted() {
    for field in [
        r#""id":1"#,
        r#""id":-9007199254740993"#,
        r#""id":"""#,
        r#""events":[]"#,
        r#""events":["*","a\u0062"]"#,
        r#""since":{"epoch":"k","seq":0}"#,
        r#""since":{"epoch":"k","seq":18446744073709551615,"eventId":"x","new":1}"#,
        r#""before":0"#,
        r#""limit":200"#,
        r#""meta":{}"#,
        r#""key":"k""#,
        r#""watch":false"#,
        r#""maxSize":1"#,
        r#""roomID":5"#,
        // Of a duplicate field the last one counts.
        r#""limit":"x","limit":5,"since":7,"since":{"epoch":1,"seq":2,"epoch":"k"}"#,
        r#""\ud800":1"#,
        // An optional field that is null is absent.
        r#""since":null,"events":null,"key":null,"limit":null,"before":null,"meta":null,"name":null"#,
    ] {
        assert_eq!(refusal(&with(field)), None, "{field}");
    }
}

#[test]
fn the_refusal_names_an_invalid_field() {
    for (field, named) in [
        (r#""id":null"#, "`id`"),
        (r#""id":1.5"#, "`id`"),
        (r#""id":1e3"#, "`id`"),
        (r#""id":true"#, "`id`"),
        (r#""id":[1]"#, "`id`"),
        (r#""event":1"#, "`event`"),
        (r#""event":"\ud800""#, "`event`"),
        (r#""key":"""#, "`key`"),
        (r#""key":7"#, "`key`"),
        (r#""meta":[]"#, "`meta`"),
        (r#""meta":"text""#, "`meta`"),
        (r#""events":"message""#, "`events`"),
        (r#""events":["message",5]"#, "`events.[1]`"),
        (r#""since":41"#, "`since`"),
        (r#""since":{"epoch":"k","seq":-1}"#, "`since.seq`"),
        (r#""since":{"epoch":"k","seq":18446744073709551616}"#, "`since.seq`"),
        (r#""since":{"epoch":1,"seq":1}"#, "`since.epoch`"),
        (r#""since":{"seq":1}"#, "`since`: missing field `epoch`"),
        (r#""since":["k",1,"x"]"#, "`since` is an object"),
        (r#""since":{"epoch":"k.","seq":1}"#, "`since`: `epoch`"),
        (r#""since":{"epoch":"k","seq":1,"eventId":"a\n"}"#, "`since`: `epoch`"),
        (r#""meta":{"a":"\ud83d"}"#, "`meta` holds a lone surrogate"),
        (r#""meta":{"a":[1e999]}"#, "`meta` holds a number"),
        (r#""meta":{"a":{"b":1,"\u0062":2}}"#, "`meta` names a member twice"),
        (r#""before":-1"#, "`before`"),
        (r#""before":"41""#, "`before`"),
        (r#""limit":0"#, "`limit`"),
        (r#""limit":201"#, "`limit`"),
        (r#""limit":1.5"#, "`limit`"),
        (r#""after":5"#, "`after`"),
        (r#""watch":"yes""#, "`watch`"),
        (r#""name":{}"#, "`name`"),
        (r#""description":[]"#, "`description`"),
        (r#""maxSize":0"#, "`maxSize`"),
        (r#""maxSize":-1"#, "`maxSize`"),
        (r#""maxSize":4294967296"#, "`maxSize`"),
    ] {
        let refused = refusal(&with(field)).unwrap_or_default();
        assert!(refused.starts_with(named) && !refused.contains(" at line "), "{field}: {refused}");
    }
}

#[test]
fn a_field_that_is_too_long_is_refused() {
    for (field, max, named) in [
        ("id", 64, "`id`"),
        ("key", 128, "`key`"),
        ("name", 1_024, "`name`"),
        ("description", 1_024, "`desc"),
    ] {
        assert_eq!(refusal(&with(&format!(r#""{field}":"{:max$}""#, ""))), None, "{field}");
        let refused = refusal(&with(&format!(r#""{field}":"{:1$}""#, "", max + 1))).unwrap_or_default();
        assert!(refused.starts_with(named), "{field}: {refused}");
    }
    assert!(refusal(&with(&format!(r#""id":1{}"#, "0".repeat(64)))).is_some());
    assert!(refusal(&with(&format!(r#""meta":{{"a":"{:1018}"}}"#, ""))).is_some());
}

#[test]
fn a_malformed_frame_is_refused() {
    for (bad, named) in [
        ("", "a frame is one JSON object"),
        ("[]", "a frame is one JSON object"),
        ("\u{feff}{}", "a frame is one JSON object"),
        ("{", "not a JSON object"),
        ("{}{}", "not a JSON object"),
        (r#"{"type":"join",}"#, "not a JSON object"),
        ("{}", "`type` is missing"),
        (r#"{"type":null}"#, "`type` is missing"),
        (r#"{"type":5}"#, "`type`"),
        (r#"{"type":"join"}"#, "`roomId` is missing"),
        (r#"{"type":"join","roomId":["chat"]}"#, "`roomId`"),
    ] {
        let refused = refusal(bad).unwrap_or_default();
        assert!(refused.starts_with(named), "{bad}: {refused}");
    }
}

#[test]
fn data_may_be_null_but_not_absent() {
    let data = |field: &str| {
        let json = format!(r#"{{"roomId":"chat","event":"message"{field}}}"#);
        let trigger = Fields::parse(&json).and_then(|fields| fields.read::<Trigger<'_>>());
        trigger.map(|trigger| trigger.data.get().to_owned())
    };
    assert_eq!(data(r#","data":null"#), Ok("null".to_owned()));
    assert_eq!(data(""), Err(invalid("`data` is missing")));
}

#[test]
fn meta_is_compacted_and_otherwise_unchanged() {
    let json = with("\"meta\":{\"c\":\n\"b\\n\",\r\"a\": 1.50}");
    let fields = Fields::parse(&json).expect("a frame");
    let meta =
        fields.read::<Trigger<'_>>().and_then(|trigger| trigger::checked_meta(&trigger)).expect("an object");
    assert_eq!(meta.as_deref(), Some(r#"{"c":"b\n","a":1.50}"#));
}

#[test]
fn an_error_behind_a_raw_value_is_found_too() {
    let json = r#"{"roomId":"chat","event":"message","data":[1,{"a":2}],"key":7,"meta":{}}"#;
    let refused = Fields::parse(json).and_then(|fields| fields.read::<Trigger<'_>>().map(drop));
    assert!(refused.expect_err("the key is a number").message.starts_with("`key`: invalid type"));
}

#[test]
fn a_field_that_is_null_is_missing() {
    let refused = Fields::parse(r#"{"roomId":null}"#).and_then(|fields| fields.read::<Leave<'_>>().map(drop));
    assert_eq!(refused, Err(invalid("`roomId` is missing")));
    let json = r#"{"roomId":"chat","event":"m","data":1,"key":"k","key":null,"roomId":"ch\u0061t"}"#;
    let trigger: Trigger<'_> = Fields::parse(json).unwrap().read().unwrap();
    assert_eq!((&*trigger.room_id, trigger.key), ("chat", None));
}

/// Records the names of a request's fields.
struct FieldNames<'n>(&'n mut Vec<&'static str>);

impl<'de> serde::Deserializer<'de> for FieldNames<'_> {
    type Error = serde::de::value::Error;

    fn deserialize_struct<V: serde::de::Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Self::Error> {
        self.0.extend(names);
        Err(serde::de::Error::custom("only the names are wanted"))
    }

    fn deserialize_any<V: serde::de::Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(serde::de::Error::custom("a request is a struct"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[test]
fn the_list_of_fields_has_those_of_all_requests() {
    use serde::Deserialize;

    let mut names = vec!["type", "id"];
    macro_rules! collect {
        ($($request:ident),*) => { $(let _ = $request::deserialize(FieldNames(&mut names));)* };
    }
    collect!(
        Auth,
        CreateRoom,
        DeleteRoom,
        GetHistory,
        GetMembers,
        Join,
        Leave,
        ListRooms,
        Subscribe,
        Trigger,
        Unsubscribe
    );
    collect!(RegisterPush, UnregisterPush);
    let mut fields: Vec<_> = names.iter().map(|name| Field::named(name.as_bytes()).expect(name)).collect();
    fields.sort_by_key(|field| *field as usize);
    fields.dedup();
    assert_eq!(fields, Field::ALL);
}

#[test]
fn a_frame_of_many_fields_holds_no_memory() {
    let many = (0..10_000).map(|n| format!(r#""{n}":0,"roomId":"{n}","#)).collect::<String>();
    let json = format!(r#"{{{many}"type":"leave"}}"#);
    let fields = Fields::parse(&json).unwrap();
    assert_eq!((fields.len(), &*fields.read::<Leave<'_>>().unwrap().room_id), (2, "9999"));
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text: String, field in "[a-zA-Z]{1,11}", value in "\\PC{0,20}") {
        refusal(&text);
        refusal(&with(&format!(r#""{field}":{value}"#)));
    }
}
