//! Rooms whose types have another name than they.
use dialogue::{Delivery, Room, RoomClient, RoomHandle};

#[dialogue::event]
pub struct Message {
    pub text: String,
}

#[dialogue::event]
#[derive(Default, Debug, PartialEq)]
pub struct Ticket {
    pub open: bool,
}

#[dialogue::event]
pub struct ChatEvent;

dialogue::rooms! {
    pub struct Desk;

    #[room(state = Ticket)]
    ticket(u64) as TicketRoom: [Ticket, Message] via [websocket];
    chat as Lobby: [ChatEvent] via [websocket] with [async |cx, event, next| next.run(cx, event).await]
}

/// A path tells another type of the name from the generated one.
mod paths {
    mod model {
        #[dialogue::event]
        #[derive(Default)]
        pub struct Board;
    }

    dialogue::rooms! {
        #[room(state = model::Board)]
        board: [model::Board] via [sse];
    }
}

fn client(client: &DeskClient) -> dialogue::client::JoinRoom<TicketRoom> {
    client.ticket(7)
}

fn exhaustive(event: TicketRoomEvent) {
    match event {
        TicketRoomEvent::Ticket(Ticket { open: _ }) => {}
        TicketRoomEvent::Message(Message { text }) => drop(text),
    }
}

async fn server() -> dialogue::Result<()> {
    let server: DeskServer = Desk::server().build().await?;
    let ticket: RoomHandle<TicketRoom> = server.ticket(7);
    let desk = server.clone();
    ticket.on(async move |_: Delivery<Ticket>| drop(desk.chat().trigger(ChatEvent).await));
    Ok(())
}

#[test]
fn names_on_the_wire_stay() {
    let _ = (client, exhaustive, server, None::<RoomClient<TicketRoom>>, None::<TicketRoomClient>);
    assert_eq!((TicketRoom::NAME, Lobby::NAME), ("ticket", "chat"));
}
