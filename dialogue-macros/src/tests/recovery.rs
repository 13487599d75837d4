//! Error recovery: the items that are generated in spite of an error, and one error for each fault.

use quote::{format_ident, quote};

use super::{BOTH, errors, expand_event, expand_rooms, expand_rules};

#[test]
fn every_fault_is_reported_and_every_room_made() {
    let rooms = quote! {
        pub struct Acme;
        chat: [Message, , Typing] via [websocket]
        feed: [Message] [sse];
        good: [Typing] via [websocket, webhook],
        last: [Poke] via [websocket] with [Quiet, 7];
    };
    let code = expand_rooms(&rooms, BOTH);
    let text = code.to_string();
    for room in ["Chat", "Feed", "Good", "Last"] {
        assert!(text.contains(&format!("struct {room} ;")), "{room} is missing");
    }
    assert_eq!(
        errors(code),
        [
            "events are listed by their types: `[Message, Typing]`",
            "expected `;` between rooms",
            "expected `via [..]`, `with [..]` or `;`",
            "rooms are separated by `;`",
            "middleware is a type, which is made from the server's state or with `Default`; a constructor call: \
             `Type::new(..)`; a function: `fn name`; or a closure: `async |cx, event, next| ..`",
            "unknown channel `webhook`; expected `websocket`, `sse` or `webpush`",
        ]
    );
}

#[test]
fn errors_come_last() {
    let code = expand_rooms(&quote!(chat: [Message] via [websokcet];), BOTH).to_string();
    let error = code.find("compile_error").expect("an error");
    assert!(code[error..].find("impl").is_none(), "with errors first an editor completes nothing");
}

#[test]
fn a_room_carries_at_most_128_events() {
    let list = |count: usize| {
        let events = (0..count).map(|i| format_ident!("Event{i}"));
        errors(expand_rooms(&quote!(chat: [#(#events),*] via [websocket]), BOTH))
    };
    assert!(list(128).is_empty());
    assert_eq!(list(129), ["a room carries at most 128 events, and `chat` lists 129; make it two rooms"]);
}

#[test]
fn a_room_is_named_by_a_letter() {
    for name in ["_", "__", "_1"] {
        let name: proc_macro2::TokenStream = name.parse().expect("a token");
        let found = errors(expand_rooms(&quote!(#name: [Message] via [websocket]), BOTH));
        assert_eq!(found.len(), 1, "{found:?}");
    }
}

#[test]
fn rooms_that_exclude_each_other_may_have_one_name() {
    let rooms = quote! {
        #[cfg(unix)] chat: [Message] via [websocket];
        #[cfg(not(unix))] chat: [Message] via [sse];
    };
    assert!(errors(expand_rooms(&rooms, BOTH)).is_empty());
}

#[test]
fn brackets_of_angles_end_where_they_should() {
    let found = errors(expand_rooms(&quote!(< chat [Message] >), BOTH));
    assert_eq!(found, ["expected `:` and the room's events: `chat: [Message] via [websocket]`"]);
    let found = errors(expand_rooms(&quote!(< chat: [Message] via [sse] > more), BOTH));
    assert_eq!(found, ["nothing comes after the closing `>`"]);
}

#[test]
fn an_event_with_a_fault_is_an_event_still() {
    let code = expand_event(
        quote!(nmae = "x", ephemeral),
        quote!(
            struct Message;
        ),
    );
    let text = code.to_string();
    assert!(text.contains("impl :: dialogue :: Event for Message"));
    assert!(text.contains("DeliveryClass :: Ephemeral"));
    assert_eq!(errors(code), ["unknown event option `nmae`; did you mean `name`?"]);
}

/// Returns the errors of rules on a field.
fn faults(rules: &str) -> Vec<String> {
    let rules: proc_macro2::TokenStream = rules.parse().expect("tokens");
    errors(expand_rules(quote!(
        struct Message {
            #[validate(#rules)]
            text: String,
            other: String,
        }
    )))
}

#[test]
fn a_fault_of_a_rule_is_reported_once() {
    let cases = [
        (
            "",
            "no rule is given: write `#[validate(length(max = 100))]`, or `#[validate(nested)]` where the field's type has rules",
        ),
        ("lenght(min = 1)", "unknown rule `lenght`; did you mean `length`?"),
        ("length", "`length` is written `length(min = 1, max = 100)`"),
        ("length()", "`length` is written `length(min = 1, max = 100)`"),
        ("length = 5", "`length` is written `length(min = 1, max = 100)`"),
        ("length(5)", "arguments have names: `length(min = 1, max = 100)`"),
        ("length(5, max = 6)", "arguments have names: `length(min = 1, max = 100)`"),
        ("length(min)", "`min` needs a value: `length(min = 1, max = 100)`"),
        ("length(min =)", "`min` is written `length(min = 1, max = 100)`"),
        ("length(mn = 1)", "`length` has no argument `mn`; did you mean `min`?"),
        ("length(min = -1)", "a length is a whole number that is not negative: `min = 1`"),
        ("length(min = 1.5)", "a length is a whole number that is not negative: `min = 1`"),
        ("length(min = \"1\")", "a length is a whole number that is not negative: `min = 1`"),
        ("length(min = 3, max = 2)", "no value is valid: this is less than the lower bound"),
        ("length(equal = 3, max = 2)", "a length that is `equal` to one has no `min` or `max` beside it"),
        ("length(min = 1, min = 2)", "`min` is given twice"),
        ("length(min = 1), length(max = 1)", "rule `length` is given twice"),
        (
            "length(max = 1, code = \"x\")",
            "a violation has a path and a message, and no code; write `message = \"…\"`",
        ),
        ("range", "`range` is written `range(min = 1, max = 100)`"),
        ("range(min = \"a\")", "a bound is a number: `min = 1`"),
        ("range(min = -1, max = -2)", "no value is valid: this is less than the lower bound"),
        ("range(min = 0.5, max = 0.25)", "no value is valid: this is less than the lower bound"),
        (
            "range(exclusive_min = 1, max = 1)",
            "no value is valid: both bounds are the same, and one is exclusive",
        ),
        ("range(min = 1, exclusive_min = 1)", "`min` and `exclusive_min` bound the same end; drop one"),
        ("contains", "`contains` is written `contains(pattern = \"…\")`"),
        ("contains(pattern = x)", "expected text: `\"…\"`"),
        ("must_match(other = othr)", "unknown field `othr`; did you mean `other`?"),
        ("must_match(other = 1 + 1)", "`other` is a field: `must_match(other = field)`"),
        ("custom", "`custom` is written `custom(function = path)`"),
        (
            "custom(function = |x| x)",
            "a closure can't stand here; write a function, and its path: `function = path`",
        ),
        ("custom(function = f, use_context)", "the function is given the value alone; there is no context"),
        ("email = 1", "`email` takes no value"),
        ("email(min = 1)", "`email` has no argument `min`; expected `message`"),
        (
            "nested(message = \"x\")",
            "`nested` takes no arguments; the messages are those of the rules in the field's type",
        ),
        (
            "schema(function = f)",
            "`schema` goes on the struct or enum; on a field write `custom(function = path)`",
        ),
    ];
    for (rules, message) in cases {
        assert_eq!(faults(rules), [message], "{rules}");
    }
}

#[test]
fn rules_are_taken_in_each_of_their_forms() {
    let rules = [
        "length(min = 1)",
        "length(max = MAX * 2)",
        "length(min = 340282366920938463463374607431768211455)",
        "range(max = 340282366920938463463374607431768211455)",
        "range(min = -1.5, max = i64::MAX)",
        "contains = \"x\"",
        "contains(pattern = \"x\"), contains(pattern = \"y\")",
        "must_match = other",
        "must_match(other = \"other\")",
        "custom = f",
        "custom(function = \"super::f\")",
        "custom(function = Self::f::<u8>, message = \"no\")",
        "ip(v4), email, url, required, nested",
        "ip(v4 = false)",
    ];
    for rules in rules {
        assert!(faults(rules).is_empty(), "{rules}: {:?}", faults(rules));
    }
}

#[test]
fn rules_beside_a_fault_are_kept() {
    let code = expand_rules(quote! {
        #[validate(length(max = 1))]
        struct Message { #[validate(emial, length(max = 3))] text: String }
    });
    assert!(code.to_string().contains("validate :: length (__found , \"/text\""));
    assert_eq!(
        errors(code),
        [
            "`length` goes on a field; a rule about several fields is `schema(function = path)`",
            "unknown rule `emial`; did you mean `email`?"
        ]
    );
}

#[test]
fn another_librarys_derive_may_stand_beside_an_impl_by_hand() {
    let item = quote! {
        #[derive(Debug, other::Validate)]
        struct Message { #[validate(regex(path = *WORDS))] text: String }
    };
    let code = expand_event(quote!(validate), item.clone());
    assert!(!code.to_string().contains("Validate for Message"), "that is implemented by hand");
    assert!(code.to_string().contains("other :: Validate"));
    assert!(errors(code).is_empty());
    let code = expand_event(
        quote!(),
        quote!(
            #[derive(garde::Validate)]
            struct Message {
                #[garde(ascii)]
                text: String,
            }
        ),
    );
    assert!(code.to_string().contains("garde :: Validate"));
    assert!(errors(code).is_empty());
    for own in [quote!(Validate), quote!(dialogue::Validate), quote!(::dialogue::Validate)] {
        let code = expand_event(
            quote!(),
            quote!(
                #[derive(#own)]
                struct Message {
                    #[validate(email)]
                    text: String,
                }
            ),
        );
        assert_eq!(errors(code), ["`#[dialogue::event]` derives `Validate` already; drop it here"]);
    }
}

#[test]
fn a_name_that_is_taken_takes_no_room_away() {
    let rooms = quote! {
        pub struct Acme;
        acme: [Message] via [websocket];
        chat: [Message, Ticket] via [websocket];
        chat_event: [Message] via [websocket];
        #[room(state = Vec<Desk>)]
        desk: [Message] via [websocket] with [Quiet];
        quiet(Id<Quiet>): [Message] via [websocket];
        ticket(u64): [Message] via [websocket];
    };
    let code = expand_rooms(&rooms, BOTH);
    let text = code.to_string();
    for method in ["acme", "chat", "chat_event", "desk", "quiet", "ticket"] {
        assert!(text.contains(&format!("fn {method} (")), "{method} is missing");
    }
    let clashes: Vec<String> =
        errors(code).iter().filter_map(|error| Some(error.split_once("; ")?.0.to_owned())).collect();
    assert_eq!(
        clashes,
        [
            "room `acme` makes a type `Acme`, which application `Acme` makes already",
            "room `chat_event` makes a type `ChatEvent`, which room `chat` makes already",
            "room `desk` makes a type `Desk`, which is also the name of its state",
            "room `quiet` makes a type `Quiet`, which is also the name of its key",
            "room `ticket` makes a type `Ticket`, which is also the name of an event of room `chat`",
        ]
    );
}

#[test]
fn a_path_and_another_name_clash_with_nothing() {
    let rooms = quote! {
        #[room(state = model::Desk)]
        desk(crate::Desk): [::acme::Desk] via [websocket];
        #[room(state = Ticket)]
        ticket as TicketRoom: [Ticket] via [websocket];
        #[room(state = Box<dyn Feed<Item = u8>>)]
        item: [Message] via [websocket];
        #[cfg(unix)]
        note: [Message] via [websocket];
        #[cfg(not(unix))]
        plain: [Note] via [websocket];
    };
    let found = errors(expand_rooms(&rooms, BOTH));
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn a_function_may_begin_with_an_underscore_or_a_letter_without_case() {
    let rooms = quote! {
        chat: [Message with [fn _quiet], Typing with [fn self::守衛]] via [websocket] with [fn __guard];
    };
    let found = errors(expand_rooms(&rooms, BOTH));
    assert!(found.is_empty(), "{found:?}");
    let found = errors(expand_rooms(&quote!(chat: [Message] via [websocket] with [_guard]), BOTH));
    assert_eq!(found, ["`_guard` is spelled like a function, which is listed with `fn`: `with [fn _guard]`"]);
}

#[test]
fn a_path_that_is_none_is_reported_once() {
    for (attribute, message) in [
        (quote!(crate(dialogue)), "`crate` is written `crate = path`"),
        (quote!(crate), "`crate` is written `crate = path`"),
        (quote!(crate = "not a path"), "expected a path, like `crate::rules::one_line`"),
        (quote!(schema(function = "not a path")), "expected a path, like `crate::rules::one_line`"),
    ] {
        let code = expand_rules(quote!(
            #[validate(#attribute)]
            struct Message;
        ));
        assert_eq!(errors(code), [message]);
    }
}

#[test]
fn a_flattened_field_is_named_by_its_name_in_rust() {
    let code = expand_rules(quote! {
        struct Address {
            #[serde(flatten)]
            home: Home,
            #[validate(must_match(other = home))]
            again: Home,
        }
    });
    assert!(code.to_string().contains("& self . home , \"home\""), "{code}");
}
