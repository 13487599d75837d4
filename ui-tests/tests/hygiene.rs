//! Names that a caller has in scope, and lints that a caller denies, do not reach into the expansion.
#![no_implicit_prelude]
#![deny(
    warnings,
    missing_docs,
    unreachable_pub,
    missing_debug_implementations,
    unnameable_types,
    unused_qualifications,
    clippy::all,
    clippy::pedantic
)]
// Of the functions and types that the rules below name, not of what is expanded.
#![allow(clippy::option_option, clippy::trivially_copy_pass_by_ref, clippy::unnecessary_wraps)]

/// What is around the macros here is named like what they use.
#[allow(dead_code)]
mod shadow {
    #[derive(::std::fmt::Debug)]
    struct String;
    #[derive(::std::fmt::Debug)]
    enum Result {}
    #[derive(::std::fmt::Debug)]
    enum Option {}
    trait Event {}
    trait Room {}
    trait ToString {}
    mod core {}
    mod std {}
    mod serde {}
    mod dialogue {}
    #[derive(::std::fmt::Debug)]
    struct Debug;

    /// An event that fewer may see than the rooms.
    #[::dialogue::event(latest = text)]
    #[derive(::std::fmt::Debug)]
    pub(crate) struct Message {
        text: ::std::string::String,
    }

    #[::dialogue::event(name = "x", from = server)]
    #[derive(::std::fmt::Debug)]
    enum Own {
        A,
        B { n: u8 },
        C(u8, i8),
    }

    #[::dialogue::event(push(
        title = "{text} {number:>4}",
        body = "",
        icon = "i",
        url = "u",
        urgency = low,
        ttl = 1h,
        collapse = text,
        data = number,
        after = 1s,
        always
    ))]
    #[derive(::std::fmt::Debug)]
    pub(crate) struct Pushed {
        text: ::std::string::String,
        number: u8,
    }

    trait Validate {}
    struct Violations;

    /// Every rule.
    #[::dialogue::event]
    #[derive(::std::fmt::Debug)]
    #[validate(schema(function = whole))]
    pub(crate) struct Ruled {
        #[validate(
            length(min = 1, max = 9, message = "m"),
            contains(pattern = "a"),
            does_not_contain(pattern = "b"),
            non_control_character,
            email,
            url,
            ip,
            custom(function = text)
        )]
        text: ::std::string::String,
        #[validate(range(min = 1, exclusive_max = 9), required, custom(function = number))]
        number: ::std::option::Option<::std::option::Option<u8>>,
        #[validate(must_match(other = number))]
        other: ::std::option::Option<::std::option::Option<u8>>,
    }

    /// Rules in variants.
    #[derive(::dialogue::Validate, ::std::fmt::Debug)]
    enum Variants {
        None,
        One(#[validate(length(equal = 1))] ::std::string::String),
        Two {
            #[validate(must_match(other = b))]
            a: u8,
            b: u8,
        },
    }

    fn whole(_: &Ruled) -> ::std::result::Result<(), &'static str> {
        ::std::result::Result::Ok(())
    }
    fn text(_: &str) -> ::std::result::Result<(), &'static str> {
        ::std::result::Result::Ok(())
    }
    fn number(_: &u8) -> ::std::result::Result<(), &'static str> {
        ::std::result::Result::Ok(())
    }

    #[derive(::std::default::Default)]
    struct Own2;
    impl<R: ::dialogue::Room, E: ::dialogue::Event> ::dialogue::Middleware<R, E> for Own2 {
        async fn handle(
            &self,
            cx: &::dialogue::Cx<R>,
            event: E,
            next: impl ::dialogue::Next<R, E>,
        ) -> ::dialogue::Flow {
            next.run(cx, event).await
        }
    }

    ::dialogue::rooms! { < chat: [Message, Own] via [websocket, sse] > }
    ::dialogue::rooms! {
        pub(in crate::shadow) struct All;
        two: [Message, Own as Mine] via [websocket] with [Own2];
        r#type: [Own with [Own2]] via [sse];
        away as Far: [Pushed] via [webpush];
        #[cfg(all())]
        three(u64): [Message] via [websocket];
        #[cfg(any())]
        three(i64): [Message] via [websocket];
    }
}

/// All that a declaration makes is public here.
pub mod public {
    /// An event.
    #[::dialogue::event]
    #[derive(::std::fmt::Debug)]
    pub struct Message {
        /// What is said.
        pub text: ::std::string::String,
    }

    /// Middleware that only this module knows.
    struct Private;
    impl Private {
        fn new(_: u8) -> Self {
            Private
        }
    }
    impl<R: ::dialogue::Room, E: ::dialogue::Event> ::dialogue::Middleware<R, E> for Private {
        async fn handle(
            &self,
            cx: &::dialogue::Cx<R>,
            event: E,
            next: impl ::dialogue::Next<R, E>,
        ) -> ::dialogue::Flow {
            next.run(cx, event).await
        }
    }

    ::dialogue::rooms! {
        /** The app. */
        pub struct Acme;
        #[room(capacity = 10)]
        chat: [Message] via [websocket] with [Private::new(1)];
        /// One for each.
        project(u64): [Message] via [sse];
    }
}

/// A room's methods are there.
#[test]
fn handles() {
    fn takes(_: fn(&public::AcmeServer) -> ::dialogue::RoomHandle<public::Chat>) {}
    takes(public::AcmeServer::chat);
    let _ = public::Acme::server();
    let _ = public::AcmeClient::connect("ws://localhost");
    let event = public::ChatEvent::Message(public::Message { text: ::std::string::String::new() });
    ::std::assert_eq!(::std::format!("{event:?}"), "Message({\"text\":\"\"})");
}
