//! Rooms with chains of each length.

use std::pin::Pin;

use dialogue::{Cx, Event, Flow, Middleware, Next, Room, RoomHandle};
use tokio::runtime::Runtime;

use crate::Result;

/// Said by the server.
#[dialogue::event(ephemeral)]
#[derive(Debug)]
pub(crate) struct Said {
    /// Which.
    pub(crate) number: u64,
}

/// Lets everything pass.
#[derive(Debug, Default)]
pub(crate) struct Pass;

impl<R: Room, E: Event> Middleware<R, E> for Pass {
    async fn handle(&self, cx: &Cx<R>, event: E, next: impl Next<R, E>) -> Flow {
        next.run(cx, event).await
    }
}

dialogue::rooms! {
    pub(crate) struct Measured;
    bare: [Said] via [websocket];
    one: [Said] via [websocket] with [Pass];
    five: [Said] via [websocket] with [Pass, Pass, Pass, Pass, Pass];
}

mod wrapped {
    use super::Said;
    dialogue::rooms! {
        pub(super) struct Wrapped;
        bare: [Said] via [websocket];
    }
}

/// What an event passes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    None,
    One,
    Five,
    /// Five of the server's.
    FiveOfServer,
    /// Five functions around the call.
    FiveByHand,
    /// Five boxed futures around the call, as a chain of `dyn` middleware would have.
    FiveBoxed,
}

impl Kind {
    pub(crate) const ALL: [Kind; 6] =
        [Kind::None, Kind::FiveByHand, Kind::One, Kind::Five, Kind::FiveOfServer, Kind::FiveBoxed];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::None => "no middleware",
            Kind::One => "1 in front of the room",
            Kind::Five => "5 in front of the room",
            Kind::FiveOfServer => "5 in front of the server",
            Kind::FiveByHand => "5 by hand",
            Kind::FiveBoxed => "5 by hand, in boxes",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Two servers on one thread.
pub(crate) struct Rooms {
    runtime: Runtime,
    bare: RoomHandle<Bare>,
    one: RoomHandle<One>,
    five: RoomHandle<Five>,
    wrapped: RoomHandle<wrapped::Bare>,
}

impl Rooms {
    pub(crate) fn open() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (plain, wrapped) = runtime.block_on(async {
            let plain = Measured::server().build().await?;
            let around = wrapped::Wrapped::server();
            let around = around.middleware(Pass).middleware(Pass).middleware(Pass).middleware(Pass);
            Ok::<_, dialogue::Error>((plain, around.middleware(Pass).build().await?))
        })?;
        let (bare, one, five) = (plain.bare(), plain.one(), plain.five());
        Ok(Rooms { runtime, bare, one, five, wrapped: wrapped.bare() })
    }

    pub(crate) fn say(&self, kind: Kind) -> Result {
        let said = Said { number: 1 };
        let Rooms { bare, one, five, wrapped, .. } = self;
        self.runtime.block_on(async {
            match kind {
                Kind::None => bare.trigger(said).await,
                Kind::One => one.trigger(said).await,
                Kind::Five => five.trigger(said).await,
                Kind::FiveOfServer => wrapped.trigger(said).await,
                Kind::FiveByHand => pass(pass(pass(pass(pass(bare.trigger(said)))))).await,
                Kind::FiveBoxed => boxed(boxed(boxed(boxed(boxed(bare.trigger(said)))))).await,
            }
        })?;
        Ok(())
    }
}

async fn pass(next: impl Future<Output = Flow>) -> Flow {
    next.await
}

fn boxed<'a>(next: impl Future<Output = Flow> + 'a) -> Pin<Box<dyn Future<Output = Flow> + 'a>> {
    Box::pin(pass(next))
}
