//! Rules on events and on what is inside them.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
};

use dialogue::{Event, Validate, validate::Violations, wire::Detail};
use serde::{Deserialize, Serialize};

#[dialogue::event]
#[serde(rename_all = "camelCase")]
#[validate(schema(function = Signup::is_adult))]
struct Signup {
    #[validate(length(min = 3, max = 20), custom(function = one_word))]
    user_name: String,
    #[validate(range(min = 0, max = 150))]
    #[serde(rename = "years")]
    age: Option<u8>,
    #[validate(email(message = "we can't write to that"))]
    mail: Option<String>,
    #[validate(must_match(other = mail))]
    mail_again: Option<String>,
    #[validate(required)]
    consent: Option<bool>,
    #[validate(nested)]
    #[serde(flatten)]
    home: Home,
    #[validate(length(max = 2), nested)]
    past_homes: Vec<Option<Box<Home>>>,
}

impl Signup {
    fn is_adult(&self) -> Result<(), String> {
        match self.age {
            Some(age) if age < 18 => Err(format!("{} is too young", self.user_name)),
            _ => Ok(()),
        }
    }
}

fn one_word(text: &str) -> Result<(), &'static str> {
    if text.contains(' ') { Err("must be one word") } else { Ok(()) }
}

#[derive(Clone, Serialize, Deserialize, Validate)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
struct Home {
    #[validate(length(equal = 5), custom(function = digits))]
    zip_code: Cow<'static, str>,
    #[validate(url, does_not_contain(pattern = "example"))]
    #[serde(rename = "web/site")]
    site: Option<Box<str>>,
}

fn digits(text: &str) -> Result<(), std::num::ParseIntError> {
    text.parse::<u32>().map(|_| ())
}

fn signup() -> Signup {
    let home = || Home { zip_code: "12345".into(), site: Some("https://a.b".into()) };
    Signup {
        user_name: "ada".into(),
        age: Some(36),
        mail: Some("ada@a.b".into()),
        mail_again: Some("ada@a.b".into()),
        consent: Some(false),
        home: home(),
        past_homes: vec![None, Some(Box::new(home()))],
    }
}

fn told(event: &impl Event) -> Vec<(String, String)> {
    let details = event.check().err().unwrap_or_default();
    details.into_iter().map(|Detail { path, message }| (path, message)).collect()
}

fn list(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|(path, message)| ((*path).to_owned(), (*message).to_owned())).collect()
}

#[test]
fn what_satisfies_its_rules_is_valid() {
    assert_eq!(told(&signup()), []);
    let bare = Signup { age: None, mail: None, mail_again: None, ..signup() };
    assert_eq!(told(&bare), []);
}

#[test]
fn each_broken_rule_is_told_in_the_order_of_declaration() {
    let home = |zip: &'static str| Home { zip_code: zip.into(), site: None };
    let event = Signup {
        user_name: "a ".into(),
        age: Some(151),
        mail: Some("ada".into()),
        mail_again: None,
        consent: None,
        home: Home { zip_code: "1234x".into(), site: Some("https://example.org".into()) },
        past_homes: vec![None, Some(Box::new(home("1"))), Some(Box::new(home("54321")))],
    };
    assert_eq!(
        told(&event),
        list(&[
            ("/userName", "length must be between 3 and 20"),
            ("/userName", "must be one word"),
            ("/years", "must be between 0 and 150"),
            ("/mail", "we can't write to that"),
            ("/mailAgain", "must be the same as `mail`"),
            ("/consent", "is required"),
            ("/ZIP_CODE", "invalid digit found in string"),
            ("/web~1site", "must not contain `example`"),
            ("/pastHomes", "length must be at most 2"),
            ("/pastHomes/1/ZIP_CODE", "length must be 5"),
        ])
    );
}

#[test]
fn the_whole_is_looked_at_once_its_fields_are_valid() {
    assert_eq!(told(&Signup { age: Some(17), ..signup() }), list(&[("", "ada is too young")]));
    let also = Signup { age: Some(17), consent: None, ..signup() };
    assert_eq!(told(&also), list(&[("/consent", "is required")]));
}

#[dialogue::event]
#[validate(schema(function = Pair::ordered, skip_on_field_errors = false))]
struct Pair(
    #[validate(range(exclusive_min = -1.5, max = LIMIT))] f64,
    #[serde(skip)] (),
    #[validate(range(min = 0.0))] f64,
);

const LIMIT: f64 = 10.0;

impl Pair {
    fn ordered(pair: &Pair) -> Result<(), Cow<'static, str>> {
        if pair.0 <= pair.2 { Ok(()) } else { Err("is not in order".into()) }
    }
}

#[test]
fn fields_without_names_have_the_index_of_the_wire() {
    assert_eq!(told(&Pair(0.0, (), 1.0)), []);
    assert_eq!(
        told(&Pair(11.0, (), -1.0)),
        list(&[
            ("/0", "must be more than -1.5 and at most 10.0"),
            ("/1", "must be at least 0.0"),
            ("", "is not in order"),
        ])
    );
}

#[dialogue::event]
#[validate(schema(function = no_empty_text))]
enum Post {
    Nothing,
    Text(#[validate(length(max = 5), non_control_character)] String),
    #[serde(rename_all = "camelCase")]
    Picture {
        #[validate(url)]
        source_url: String,
        width: u16,
        #[validate(must_match(other = width), range(min = 1))]
        height: u16,
    },
    Many(#[validate(nested)] Vec<Home>, #[validate(nested)] BTreeMap<String, Home>),
}

fn no_empty_text(post: &Post) -> Result<(), &'static str> {
    if matches!(post, Post::Text(text) if text.is_empty()) { Err("is empty") } else { Ok(()) }
}

/// A path leads to what breaks the rule, in the JSON as it came.
fn lead_into<E: Event>(event: &E, expected: &[(&str, &str)]) {
    assert_eq!(told(event), list(expected));
    let json = serde_json::to_value(event).unwrap();
    for (path, _) in expected {
        assert!(json.pointer(path).is_some(), "{path} leads nowhere in {json}");
    }
}

#[test]
fn variants_have_rules() {
    let home = || Home { zip_code: "".into(), site: None };
    lead_into(&Post::Nothing, &[]);
    lead_into(
        &Post::Text("seven\n!".into()),
        &[("/Text", "length must be at most 5"), ("/Text", "must not contain control characters")],
    );
    lead_into(&Post::Text(String::new()), &[("", "is empty")]);
    lead_into(&Post::Picture { source_url: "http://a".into(), width: 1, height: 1 }, &[]);
    lead_into(
        &Post::Picture { source_url: "javascript:alert(1)".into(), width: 1, height: 0 },
        &[
            ("/Picture/sourceUrl", "must be a URL that begins with http://, https://, ws:// or wss://"),
            ("/Picture/height", "must be the same as `width`"),
            ("/Picture/height", "must be at least 1"),
        ],
    );
    lead_into(
        &Post::Many(vec![home()], BTreeMap::from([("a/b".to_owned(), home())])),
        &[
            ("/Many/0/0/ZIP_CODE", "length must be 5"),
            ("/Many/0/0/ZIP_CODE", "cannot parse integer from empty string"),
            ("/Many/1/a~1b/ZIP_CODE", "length must be 5"),
            ("/Many/1/a~1b/ZIP_CODE", "cannot parse integer from empty string"),
        ],
    );
}

/// An enum's place in JSON is by its `#[serde(…)]`.
#[test]
fn tags_are_part_of_the_path() {
    macro_rules! tagged {
        ($($name:ident [$($attribute:tt)*] $path:literal,)*) => {$({
            #[dialogue::event]
            #[serde($($attribute)*)]
            enum $name {
                BigText {
                    #[validate(length(max = 1))]
                    its_text: String,
                },
            }
            lead_into(&$name::BigText { its_text: "ab".into() }, &[($path, "length must be at most 1")]);
        })*};
    }
    tagged! {
        External [deny_unknown_fields] "/BigText/its_text",
        Internal [tag = "kind"] "/its_text",
        Adjacent [tag = "kind", content = "body"] "/body/its_text",
        Untagged [untagged] "/its_text",
        Kebab [rename_all = "kebab-case", rename_all_fields = "PascalCase"] "/big-text/ItsText",
        Snake [rename_all = "snake_case"] "/big_text/its_text",
        Shout [rename_all = "SCREAMING-KEBAB-CASE"] "/BIG-TEXT/its_text",
        Lower [rename_all = "lowercase"] "/bigtext/its_text",
        Camel [rename_all = "camelCase", rename_all_fields = "camelCase"] "/bigText/itsText",
    }
}

#[dialogue::event]
#[serde(transparent)]
struct Homes {
    #[validate(nested)]
    homes: HashMap<u8, Home>,
}

#[test]
fn many_violations_are_cut_in_the_same_place_each_time() {
    let homes = || (0..=255).map(|key| (key, Home { zip_code: "x".into(), site: None })).collect();
    let first = told(&Homes { homes: homes() });
    assert_eq!(first.len(), Violations::MAX);
    assert_eq!(first[..1], list(&[("/0/ZIP_CODE", "length must be 5")]));
    (0..10).for_each(|_| assert_eq!(told(&Homes { homes: homes() }), first));
}

/// Types that are generic, and rules that a condition brings.
#[derive(Validate)]
struct Page<T: Clone> {
    #[validate(nested)]
    items: Vec<T>,
    #[cfg_attr(all(), validate(length(max = 3)))]
    title: &'static str,
    #[cfg(any())]
    #[validate(length(max = 3))]
    absent: String,
}

#[test]
fn derives_for_generic_types_and_under_conditions() {
    let page = Page { items: vec![Home { zip_code: "x".into(), site: None }], title: "four" };
    let details = Violations::of(&page).into_result().unwrap_err();
    let paths: Vec<&str> = details.iter().map(|detail| detail.path.as_str()).collect();
    assert_eq!(paths, ["/items/0/ZIP_CODE", "/items/0/ZIP_CODE", "/title"]);
}

macro_rules! labelled {
    ($name:ident, $label:ty, $max:expr, $pattern:literal, $function:path, $skip:literal) => {
        #[derive(Validate)]
        #[validate(schema(function = labelled, skip_on_field_errors = $skip))]
        struct $name {
            #[validate(length(max = $max), contains(pattern = $pattern), custom(function = $function))]
            label: $label,
        }
    };
}
labelled!(Labelled, Option<String>, 5, "x", self::one_word, false);

fn labelled(_: &Labelled) -> Result<(), &'static str> {
    Err("is never valid")
}

#[test]
fn rules_may_be_written_by_another_macro() {
    let found = Violations::of(&Labelled { label: Some("a b c d".into()) });
    let messages: Vec<String> =
        found.into_result().unwrap_err().into_iter().map(|detail| detail.message).collect();
    assert_eq!(
        messages,
        ["length must be at most 5", "must contain `x`", "must be one word", "is never valid"]
    );
}

/// A type that is generic and inside itself.
#[derive(Validate)]
struct Tree<T> {
    #[validate(nested)]
    item: T,
    #[validate(nested)]
    below: Vec<Tree<T>>,
}

#[test]
fn derives_for_a_generic_type_inside_itself() {
    let leaf =
        |zip: &'static str| Tree { item: Home { zip_code: zip.into(), site: None }, below: Vec::new() };
    let tree = Tree { below: vec![leaf("12345"), leaf("1")], ..leaf("12345") };
    let details = Violations::of(&tree).into_result().unwrap_err();
    assert_eq!(details[0].path, "/below/1/item/ZIP_CODE");
}

/// An event whose rules are all under a condition.
#[dialogue::event]
struct Conditional {
    #[cfg_attr(all(), validate(length(max = 3)))]
    text: String,
}

#[dialogue::event(validate)]
struct ByHand {
    even: u32,
}

impl Validate for ByHand {
    fn validate(&self, found: &mut Violations) {
        if self.even % 2 == 1 {
            found.add("even", format_args!("{} is odd", self.even));
        }
    }
}

#[test]
fn rules_are_wired_however_they_are_given() {
    assert_eq!(told(&Conditional { text: "four".into() }), list(&[("/text", "length must be at most 3")]));
    assert_eq!(told(&ByHand { even: 3 }), list(&[("/even", "3 is odd")]));
    assert_eq!(told(&ByHand { even: 2 }), []);
}
