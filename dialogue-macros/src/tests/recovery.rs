//! What is made in spite of an error, and that one fault is told once.

use quote::{format_ident, quote};

use super::{BOTH, errors, expand_event, expand_rooms};

#[test]
fn every_fault_is_told_and_every_room_made() {
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
            "expected identifier",
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
