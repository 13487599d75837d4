//! Who may see what a declaration makes, and where it may stand.

#[dialogue::event]
pub struct Message {
    pub text: String,
}

mod private {
    use super::Message;
    dialogue::rooms! { chat: [Message] via [websocket]; }

    pub(super) fn builds() {
        let _ = Rooms::server();
        let _: fn(dialogue::Server) -> RoomsServer = RoomsServer::from;
        let _: fn(dialogue::Client) -> RoomsClient = RoomsClient::from;
    }
}

mod within {
    use super::Message;
    dialogue::rooms! { pub(in crate::applications) struct Acme; chat: [Message] via [websocket]; }
}

/// Two declarations in one place, and events with a path.
mod two {
    dialogue::rooms! { pub struct First; chat: [super::Message] via [websocket]; }
    dialogue::rooms! { pub struct Second; feed: [crate::applications::Message] via [sse]; }
}

/// An event, middleware and a room that only this file knows, in an application for everybody.
mod hidden {
    use dialogue::{Cx, Event, Flow, Middleware, Next, Room};

    #[derive(Default)]
    struct Secret;

    impl<R: Room, E: Event> Middleware<R, E> for Secret {
        async fn handle(&self, cx: &Cx<R>, event: E, next: impl Next<R, E>) -> Flow {
            next.run(cx, event).await
        }
    }

    dialogue::rooms! { pub struct Acme; chat: [super::Message] via [websocket] with [Secret]; }
}

macro_rules! declare {
    ($name:ident) => {
        dialogue::rooms! { $name: [Message] via [websocket]; }
    };
}

mod by_macro {
    use super::Message;
    declare!(chat);
    pub(super) const NAME: &str = <Chat as dialogue::Room>::NAME;
}

#[test]
fn they_can_be_named() {
    private::builds();
    let _ = (within::Acme::server(), two::First::server(), two::Second::server(), hidden::Acme::server());

    #[dialogue::event]
    struct Local;
    dialogue::rooms! { chat: [Local] via [websocket] }
    let _ = (Rooms::server(), by_macro::NAME);
}
