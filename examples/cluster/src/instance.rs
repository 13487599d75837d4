//! One instance: an ordinary server, but for its backplane.

use std::process;

use dialogue::{Redis, prelude::*};
use tokio::io::{AsyncReadExt, stdin};

use crate::{Result, page};

/// Said by a member.
#[dialogue::event]
struct Message {
    #[validate(length(min = 1, max = 2000))]
    text: String,
    /// How the author wants to be called; who it is, the event's `from` says.
    #[validate(length(min = 1, max = 40))]
    name: String,
}

/// Somebody began to type, or stopped.
#[dialogue::event(ephemeral)]
struct Typing {
    active: bool,
    #[validate(length(min = 1, max = 40))]
    name: String,
}

/// A window is connected to an instance: the window says the first, the instance the rest.
#[dialogue::event(ephemeral)]
struct Here {
    #[validate(length(min = 1, max = 40))]
    window: String,
    #[serde(default)]
    instance: u16,
    #[serde(default)]
    process: u32,
}

dialogue::rooms! {
    /// Where everybody talks; who comes sees the last 50 messages.
    #[room(name = "Chat", sync = 50, retain(events = 1_000))]
    chat: [Message, Typing] via [websocket, sse];

    /// Who is where.
    whereabouts: [Here with [Stamp]] via [websocket, sse];
}

/// Says in each event which instance took it.
#[derive(Clone)]
struct Stamp(u16);

impl FromState<Stamp> for Stamp {
    fn from_state(state: &Stamp) -> Self {
        state.clone()
    }
}

impl<R: Room> Middleware<R, Here> for Stamp {
    async fn handle(&self, cx: &Cx<R>, mut event: Here, next: impl Next<R, Here>) -> dialogue::Flow {
        (event.instance, event.process) = (self.0, process::id());
        next.run(cx, event).await
    }
}

/// Serves at a port of its own, which it prints, until its standard input ends: then whoever started it wants it to go, or
/// is no more.
pub(crate) async fn serve(number: u16, redis: &str) -> Result {
    let server = Rooms::server().state(Stamp(number)).backplane(Redis::connect(redis).await?).build().await?;
    let listener = Server::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let told_to_go = async {
        let _ = stdin().read_to_end(&mut Vec::new()).await;
    };
    Ok(server.serve_until(page::routes().merge(server.router()), listener, told_to_go).await?)
}
