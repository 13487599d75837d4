//! Names that a caller has in scope, and lints that a caller denies, do not reach into the expansion.
//!
//! validator's derive does need the prelude, so that there is no `#[validate]` here.
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
        away: [Pushed] via [webpush];
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
