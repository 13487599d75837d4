//! Snapshots of expansions as text in `snapshots/`; `UPDATE_SNAPSHOTS=1` writes them anew.

use std::{env, fs, path::PathBuf};

use proc_macro2::TokenStream;
use quote::quote;

use super::{BOTH, expand_event, expand_rooms, expand_rules};
use crate::rooms::Sides;

#[test]
fn an_event() {
    let code = expand_event(
        TokenStream::new(),
        quote!(
            pub struct NewPost {
                pub title: String,
            }
        ),
    );
    same("event", code);
}

#[test]
fn an_event_with_everything() {
    let item = quote! {
        /// A price.
        #[derive(Debug)]
        #[serde(rename_all = "camelCase")]
        pub struct Price {
            #[filter]
            #[validate(length(min = 1))]
            pub ticker_symbol: String,
            pub cents: u64,
        }
    };
    let options = quote!(name = "price-2", latest = ticker_symbol, from = server, crate = my::path);
    same("event_with_everything", expand_event(options, item));
}

#[test]
fn rules_of_a_struct() {
    let item = quote! {
        #[validate(crate = my::path, schema(function = Self::whole))]
        #[serde(rename_all = "camelCase")]
        pub struct Account<T> {
            #[validate(length(min = 3, max = LONGEST), custom(function = is_free, message = "is taken"))]
            pub user_name: String,
            #[validate(range(min = 0, exclusive_max = 150), required)]
            pub age: Option<u8>,
            #[validate(email, does_not_contain(pattern = "@spam."))]
            pub mail: Option<Option<String>>,
            #[validate(must_match(other = mail), custom(function = deliverable))]
            pub mail_again: Option<Option<String>>,
            #[validate(nested)]
            pub rest: Vec<T>,
            pub free: u8,
        }
    };
    same("rules_of_a_struct", expand_rules(item));
}

#[test]
fn rules_of_an_enum() {
    let item = quote! {
        #[serde(tag = "kind", content = "body")]
        #[validate(schema(function = whole, skip_on_field_errors = false))]
        enum Body {
            Nothing,
            Text(#[validate(length(equal = 5))] String),
            Range {
                from: u8,
                #[validate(ip(v6 = true))]
                host: String,
                #[validate(must_match(other = from))]
                until: u8,
            },
        }
    };
    same("rules_of_an_enum", expand_rules(item));
}

#[test]
fn an_event_that_is_pushed() {
    let item = quote! {
        pub struct Alert {
            pub service: String,
        }
    };
    let options = quote!(push(
        title = "{service} is down",
        body = "Look!",
        url = "/{service:>3}",
        urgency = high,
        ttl = 1h,
        collapse = service,
        data,
        after = 10s,
        always
    ));
    same("event_that_is_pushed", expand_event(options, item));
}

#[test]
fn a_room() {
    let rooms = quote!(chat: [Message] via [websocket, sse]);
    same("room", expand_rooms(&rooms, Sides { client: false, ..BOTH }));
}

#[test]
fn a_room_that_pushes() {
    let rooms = quote!(alerts: [Alert] via [webpush]);
    same("room_that_pushes", expand_rooms(&rooms, Sides { client: false, ..BOTH }));
}

#[test]
fn rooms_with_everything() {
    let rooms = quote! {
        /// The rooms of the acme app.
        pub struct Acme;

        /// Where everybody talks.
        ///
        /// In public.
        #[room(name = "Chat", capacity = 10_000, retain(events = 1_000, bytes = 1MiB, age = 7d), sync = 50)]
        #[room(description, subscribe = [Message], presence, role = "member", identity = Member, limit = 10 per 1s burst 20)]
        #[cfg(unix)]
        #[deprecated]
        chat: [Message, Typing with [OnlyMembers], v2::Message as MessageV2]
            via [websocket, sse] with [ContentFilter::words(["spam"]), Audit<Full>];

        #[room(identity = auth::Claims)]
        project(ProjectId) as Plan: [Message] via [sse] with [fn checks::quiet, async |cx, event, next| next.run(cx, event).await];
    };
    same("rooms_with_everything", expand_rooms(&rooms, BOTH));
}

fn same(name: &str, code: TokenStream) {
    let file = syn::parse2(code).expect("a file");
    let made = prettyplease::unparse(&file);
    let path: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "src/tests/snapshots", &format!("{name}.txt")].iter().collect();
    if env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::write(&path, made).expect("a folder to write to");
        return;
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(made == kept, "{name} is not as kept; with `UPDATE_SNAPSHOTS=1` it is written anew:\n{made}");
}
