//! The declaration that the documentation shows, and all that it makes.
use dialogue::{Cx, Delivery, Event, Flow, Middleware, Next, Room};

/// Said by a member.
#[dialogue::event]
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    #[validate(length(min = 1, max = 2000))]
    pub text: String,
}

#[dialogue::event(ephemeral)]
pub struct Typing {
    pub active: bool,
}

#[dialogue::event(latest = symbol, from = server)]
pub struct Price {
    pub symbol: String,
    pub cents: u64,
}

#[dialogue::event]
pub struct TaskMoved {
    pub task: u64,
}

mod v2 {
    #[dialogue::event(name = "message-2")]
    pub struct Message(pub String);
}

pub struct ContentFilter(Vec<String>);

impl ContentFilter {
    pub fn words<const N: usize>(words: [&str; N]) -> Self {
        ContentFilter(words.map(str::to_owned).to_vec())
    }
}

impl<R: Room, E: Event> Middleware<R, E> for ContentFilter {
    async fn handle(&self, cx: &Cx<R>, event: E, next: impl Next<R, E>) -> Flow {
        next.run(cx, event).await
    }
}

#[derive(Default)]
pub struct OnlyAssignee;

impl<R: Room> Middleware<R, TaskMoved> for OnlyAssignee {
    async fn handle(&self, cx: &Cx<R>, event: TaskMoved, next: impl Next<R, TaskMoved>) -> Flow {
        next.run(cx, event).await
    }
}

dialogue::rooms! {
    /// The rooms of the acme app.
    pub struct Acme;

    /// Where everybody
    /// talks.
    ///
    /// In public.
    #[room(name = "Chat", capacity = 10_000, retain(events = 1_000, bytes = 64KiB, age = 7d), sync = 50, subscribe = [Message])]
    chat: [Message, Typing] via [websocket, sse] with [ContentFilter::words(["spam"])];

    ticker: [Price] via [sse, websocket];

    /// One instance per project.
    project(u64): [Message, TaskMoved with [OnlyAssignee], v2::Message as MessageV2] via [websocket];
}

async fn server() -> Result<(), Box<dyn std::error::Error>> {
    let server: AcmeServer = Acme::server().build().await?;
    let _ = server.chat().trigger(Message { text: "welcome".into() }).await;
    let _ = server.project(7).trigger(v2::Message("hi".into())).await;
    server.chat().on(|message: Delivery<Message>| async move { drop(message.event.text) });
    Ok(())
}

async fn client() -> Result<(), Box<dyn std::error::Error>> {
    let client: AcmeClient = AcmeClient::connect("ws://localhost:3000").await?;
    let chat: ChatClient = client.chat().join().await?;
    chat.send(Message { text: "hi".into() }).await?;
    Ok(())
}

fn exhaustive(event: ChatEvent) {
    match event {
        ChatEvent::Message(Message { text }) => drop(text),
        ChatEvent::Typing(Typing { active: _ }) => {}
    }
}

#[test]
fn what_is_declared_is_there() {
    let _ = (server, client, exhaustive);
    assert_eq!(Chat::NAME, "chat");
    let options = Chat::OPTIONS;
    assert_eq!(options.title, Some("Chat"));
    assert_eq!(options.description, None);
    assert_eq!(options.capacity, Some(10_000));
    assert_eq!(options.sync, 50);
    assert_eq!(options.subscribe, Some(&["message"][..]));
    assert_eq!((options.retention.events, options.retention.bytes), (Some(1_000), Some(65_536)));
    assert_eq!(options.retention.age, Some(std::time::Duration::from_secs(7 * 24 * 3_600)));
    let names: Vec<_> = Project::EVENTS.iter().map(|carried| carried.kind().name).collect();
    assert_eq!(names, ["message", "task-moved", "message-2"]);
    let price = Price { symbol: "X".into(), cents: 1 };
    assert_eq!(price.conflation_key().as_deref(), Some("X"));
    assert_eq!(Message { text: String::new() }.check().unwrap_err()[0].path, "/text");
}
