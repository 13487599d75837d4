//! Checks and edits of JSON text that go beyond the grammar (RFC 8259): every function takes text that a parser has
//! accepted.

use std::{
    borrow::Cow,
    collections::{HashMap, hash_map::Entry},
    ops::Range,
};

/// A token: punctuation, a string with its quotes, a number or a literal.
#[derive(Debug, Clone, Copy)]
struct JsonToken<'a> {
    /// The offset of its first byte.
    at: usize,
    text: &'a str,
}

/// The members of an object that is being scanned.
#[derive(Default)]
struct ObjectMembers<'a> {
    /// The offset at which each member begins.
    starts: Vec<usize>,
    /// The index of the last member of each name.
    by_name: HashMap<Cow<'a, str>, usize>,
    /// True between a name and the comma after its value.
    in_value: bool,
}

/// Returns the value without white space between its tokens. The result has no raw newline.
pub fn compact(json: &str) -> String {
    tokens(json).map(|token| token.text).collect()
}

/// Returns the reason why some JSON parsers refuse a value or read different ones: a lone surrogate, or a number
/// outside a double's range (RFC 8259, sections 6 and 8.2).
pub fn unreadable(json: &str) -> Option<&'static str> {
    for JsonToken { text, .. } in tokens(json) {
        match text.as_bytes().first() {
            Some(b'"') if string(text).is_none() => return Some("holds a lone surrogate"),
            Some(b'-' | b'0'..=b'9') if !text.parse::<f64>().is_ok_and(f64::is_finite) => {
                return Some("holds a number outside a double's range");
            }
            _ => {}
        }
    }
    None
}

/// Returns whether an object, at any level, names a member twice.
pub fn names_one_twice(json: &str) -> bool {
    !repeated(json).is_empty()
}

/// Returns the value with only the last member of each name in each object, or `None` if no name is repeated.
pub fn last_of_each(json: &str) -> Option<String> {
    let mut repeated = repeated(json);
    if repeated.is_empty() {
        return None;
    }
    repeated.sort_unstable_by_key(|range| range.start);
    let (mut kept, mut at) = (String::with_capacity(json.len()), 0);
    for Range { start, end } in repeated {
        // A range inside of another is removed with it.
        kept.push_str(json.get(at..start).unwrap_or_default());
        at = at.max(end);
    }
    kept.push_str(json.get(at..).unwrap_or_default());
    Some(kept)
}

/// Returns the ranges of members that another member of the same name follows, each up to the next member.
fn repeated(json: &str) -> Vec<Range<usize>> {
    let mut repeated = Vec::new();
    // The open objects and arrays; `None` for an array.
    let mut open: Vec<Option<ObjectMembers<'_>>> = Vec::new();
    for JsonToken { at, text } in tokens(json) {
        match (text.as_bytes().first(), open.last_mut()) {
            (Some(b'{'), _) => open.push(Some(ObjectMembers::default())),
            (Some(b'['), _) => open.push(None),
            (Some(b'}' | b']'), _) => drop(open.pop()),
            (Some(b','), Some(Some(members))) => members.in_value = false,
            (Some(b'"'), Some(Some(members))) if !members.in_value => {
                members.in_value = true;
                let index = members.starts.len();
                members.starts.push(at);
                match members.by_name.entry(string(text).unwrap_or(Cow::Borrowed(text))) {
                    Entry::Vacant(new) => _ = new.insert(index),
                    Entry::Occupied(mut before) => {
                        let before = before.insert(index);
                        if let Some([start, end]) = members.starts.get(before..before + 2) {
                            repeated.push(*start..*end);
                        }
                    }
                }
            }
            _ => {}
        }
    }
    repeated
}

/// Returns the text of a string token, or `None` if it has a lone surrogate.
fn string(token: &str) -> Option<Cow<'_, str>> {
    #[derive(serde::Deserialize)]
    struct Borrowed<'a>(#[serde(borrow)] Cow<'a, str>);

    serde_json::from_str::<Borrowed<'_>>(token).ok().map(|Borrowed(text)| text)
}

fn tokens(json: &str) -> impl Iterator<Item = JsonToken<'_>> {
    const SPACE: [char; 4] = [' ', '\t', '\n', '\r'];
    const PUNCTUATION: [char; 6] = ['{', '}', '[', ']', ',', ':'];
    let mut rest = json;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(SPACE);
        let length = match rest.chars().next()? {
            '"' => {
                let mut escaped = false;
                let end = rest.bytes().skip(1).position(|byte| {
                    let ends = byte == b'"' && !escaped;
                    escaped = byte == b'\\' && !escaped;
                    ends
                });
                end.map_or(rest.len(), |end| end + 2)
            }
            c if PUNCTUATION.contains(&c) => 1,
            _ => rest
                .find(|c| c == '"' || SPACE.contains(&c) || PUNCTUATION.contains(&c))
                .unwrap_or(rest.len()),
        };
        let at = json.len() - rest.len();
        let (text, after) = rest.split_at_checked(length)?;
        rest = after;
        Some(JsonToken { at, text })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn white_space_between_tokens_is_left_out() {
        let spread = "{ \"a b\" :\n[ 1.50 , -0e+3,\r\"\\\" \\\\\" ] ,\t\"c\": { } }";
        assert_eq!(compact(spread), r#"{"a b":[1.50,-0e+3,"\" \\"],"c":{}}"#);
    }

    #[test]
    fn what_some_reader_can_not_read_is_found() {
        for good in [r#"{"a":"\ud83d\ude00","b":1e308,"c":-12345678901234567890123}"#, "1e-999", "[[]]"] {
            assert_eq!(unreadable(good), None, "{good}");
        }
        for bad in
            [r#"{"a":"\ud83d"}"#, r#"{"\udc00":1}"#, r#"["\ude00\ud83d"]"#, "1e999", r#"{"a":[-1e309]}"#]
        {
            assert!(unreadable(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn the_last_of_each_name_stays() {
        for (json, kept) in [
            (r#"{"a":1,"b":2,"a":3}"#, r#"{"b":2,"a":3}"#),
            (r#"{"a":1,"\u0061":2}"#, r#"{"\u0061":2}"#),
            (r#"{"a":{"x":1,"x":2},"a":{"y":[{"z":1,"z":2}]}}"#, r#"{"a":{"y":[{"z":2}]}}"#),
            (r#"{"a":1,"a":2,"a":3}"#, r#"{"a":3}"#),
            ("{ \"a\" : [\"a\", \"a\"] ,\n\"a\" : {} }", r#"{ "a" : {} }"#),
        ] {
            assert_eq!(last_of_each(json).as_deref(), Some(kept), "{json}");
        }
        for all in [r#"{"a":{"a":"a"},"b":["a","a"]}"#, "[]", r#""a""#] {
            assert_eq!(last_of_each(all), None, "{all}");
        }
    }

    proptest! {
        #[test]
        fn the_value_stays_the_same(text: String, numbers in prop::collection::vec(any::<i64>(), 0..4)) {
            let value = serde_json::json!({ text.as_str(): [text.as_str(), { "a": numbers }], "b": null });
            let pretty = serde_json::to_string_pretty(&value).expect("it is JSON");
            prop_assert_eq!(compact(&pretty), value.to_string());
            prop_assert_eq!(unreadable(&pretty), None);
            let twice = format!("{{\"b\":1,\"c\":{pretty},\"b\":[],\"c\":{pretty}}}");
            let once = last_of_each(&twice).expect("there are some");
            prop_assert_eq!(last_of_each(&once), None);
            let read = |json: &str| serde_json::from_str::<Value>(json).expect("it is JSON");
            prop_assert_eq!(read(&once), read(&twice));
        }

        #[test]
        fn any_text_is_taken(text: String) {
            compact(&text);
            unreadable(&text);
            last_of_each(&text);
        }
    }
}
