//! Who is where, and what is done with them, whichever instance they are connected to.

use std::{collections::BTreeMap, time::Duration};

use dialogue::{
    backplane::{Feed, Local, MemberChange, MembersUpdate, NodeMessages, SharedMembers},
    server::NewRoom,
    wire::Id,
};
use dialogue_tests::{Result, Socket, is_refused, until};
use fastrand::Rng;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::{
    harness::{Message, texts},
    house::{House, Place, open, over},
};

/// Longer than anything of which nothing should come.
const MOMENT: Duration = Duration::from_millis(900);
/// That of the hall.
const GRACE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn everybody_counts_wherever_they_are() -> Result {
    let house = House::open(3).await?;
    let alice = house.member(0, "alice", "chat").await?;
    let _bob = house.member(1, "bob", "chat").await?;
    let _again = house.member(2, "alice", "chat").await?;
    house.all_say("chat", &[("alice", 2), ("bob", 1)]).await?;
    for place in &house.places {
        until("it knows of both", async || {
            place.server.chat().members().await.is_ok_and(|members| members == ["alice", "bob"])
        })
        .await?;
        assert!(place.server.users().get("alice").is_in(&place.server.chat()).await?);
    }
    alice.close().await?;
    house.all_say("chat", &[("alice", 1), ("bob", 1)]).await?;
    house.close().await
}

#[tokio::test]
async fn a_join_says_how_many_are_there() -> Result {
    let house = House::open(2).await?;
    let _alice = house.member(0, "alice", "chat").await?;
    until("bob is told of alice", async || {
        let mut bob = Socket::open_as(house.address(1), "bob").await.expect("a socket");
        bob.enter("chat", Value::Null).await.is_ok_and(|joined| joined["members"] == 2)
    })
    .await?;
    house.close().await
}

#[tokio::test]
async fn a_users_connections_are_known_everywhere() -> Result {
    let house = House::open(2).await?;
    let _alice = house.member(0, "alice", "chat").await?;
    let mut other = house.member(1, "alice", "lobby").await?;
    other.enter("project:1", Value::Null).await?;
    for place in &house.places {
        let alice = place.server.users().get("alice");
        assert_eq!(alice.connections().await?.len(), 2);
        assert_eq!(alice.rooms().await?, ["chat", "lobby", "project:1"]);
        assert!(place.server.users().get("nobody").connections().await?.is_empty());
    }
    house.close().await
}

#[tokio::test]
async fn what_is_sent_to_a_user_arrives_wherever_they_are_and_nowhere_else() -> Result {
    let house = House::open(3).await?;
    let mut bob = [house.member(1, "bob", "chat").await?, house.member(2, "bob", "chat").await?];
    let mut alice = house.member(1, "alice", "chat").await?;
    let server = &house.places[0].server;
    until("bob is known", async || matches!(server.users().get("bob").is_in(&server.chat()).await, Ok(true)))
        .await?;
    until("both are", async || {
        let message = Message { text: "psst".into() };
        matches!(server.users().get("bob").send(&server.chat(), message).await, Ok(2))
    })
    .await?;
    server.chat().trigger(Message { text: "to all".into() }).await?;
    for socket in &mut bob {
        assert_eq!(texts(&socket.events(1).await?), ["psst"]);
    }
    assert_eq!(texts(&alice.events(1).await?), ["to all"]);
    house.close().await
}

#[tokio::test]
async fn a_user_is_put_out_of_a_room_and_disconnected_anywhere() -> Result {
    let house = House::open(2).await?;
    let mut bob = house.member(1, "bob", "chat").await?;
    let mut alice = house.member(1, "alice", "chat").await?;
    let server = &house.places[0].server;
    assert!(server.users().get("bob").remove_from(&server.chat(), "enough").await?);
    let left = bob.next().await?;
    assert_eq!((&left["type"], &left["reason"]), (&json!("left"), &json!("enough")));
    assert_eq!(server.users().get("bob").disconnect("goodbye").await?, 1);
    assert_eq!(bob.rest().await?.1, Some(4403));
    assert_eq!(server.users().get("bob").disconnect("goodbye").await?, 0);
    alice.say("chat", "still here").await?;
    assert_eq!(texts(&alice.events(1).await?), ["still here"]);
    house.close().await
}

#[tokio::test]
async fn presence_is_of_a_user_and_not_of_a_connection_or_an_instance() -> Result {
    let house = House::open(3).await?;
    let mut watcher = house.member(0, "watcher", "hall").await?;
    let mut bob = house.member(1, "bob", "hall").await?;
    assert!(is_presence(&watcher.next().await?, "joined", 2));
    let again = house.member(2, "bob", "hall").await?;
    bob.ask(json!({ "type": "leave", "id": 1, "roomId": "hall" })).await?;
    nothing_comes(&mut watcher, MOMENT).await?;
    // Over to another instance, within the grace.
    let began = Instant::now();
    again.reset()?;
    let back = house.member(1, "bob", "hall").await?;
    deadline::took("bob's way to another instance", began.elapsed(), GRACE / 2)?;
    // Neither is his departure from the first one told, nor that from the second.
    nothing_comes(&mut watcher, GRACE + MOMENT).await?;
    back.close().await?;
    assert!(is_presence(&watcher.next().await?, "left", 1));
    nothing_comes(&mut watcher, MOMENT).await?;
    house.close().await
}

fn is_presence(frame: &Value, change: &str, size: u64) -> bool {
    frame["type"] == "presence"
        && frame["userId"] == "bob"
        && frame["change"] == change
        && frame["size"] == size
}

async fn nothing_comes(socket: &mut Socket, moment: Duration) -> Result {
    match timeout(moment, socket.next()).await {
        Ok(frame) => Err(format!("something comes: {}", frame?).into()),
        Err(_) => Ok(()),
    }
}

#[tokio::test]
async fn what_its_owner_deletes_is_deleted_everywhere() -> Result {
    let house = House::open(2).await?;
    let mut owner = Socket::open_as(house.address(0), "owner").await?;
    let mut watcher = Socket::open_as(house.address(1), "watcher").await?;
    watcher.ask(json!({ "type": "listRooms", "id": 1, "watch": true })).await?;
    let created = owner.ask(json!({ "type": "createRoom", "id": 1, "roomId": "project:7" })).await?;
    assert_eq!(created["type"], "ok");
    assert_eq!(watcher.next().await?["type"], "roomCreated");
    let mut member = house.member(1, "member", "project:7").await?;
    let stranger = member.ask(json!({ "type": "deleteRoom", "id": 1, "roomId": "project:7" })).await?;
    assert!(is_refused(&stranger, "PERMISSION_DENIED"), "{stranger}");
    // By another connection, at the other instance.
    let mut owner = Socket::open_as(house.address(1), "owner").await?;
    let deleted = owner.ask(json!({ "type": "deleteRoom", "id": 2, "roomId": "project:7" })).await?;
    assert_eq!(deleted["type"], "ok");
    assert_eq!(member.next().await?["type"], "left");
    assert_eq!(watcher.next().await?["type"], "roomDeleted");
    house.close().await
}

#[tokio::test]
async fn a_room_deleted_elsewhere_begins_anew() -> Result {
    let house = House::open(2).await?;
    let mut owner = Socket::open_as(house.address(0), "owner").await?;
    owner.ask(json!({ "type": "createRoom", "id": 1, "roomId": "project:7" })).await?;
    let mut member = house.member(1, "member", "project:7").await?;
    member.say("project:7", "before").await?;
    member.events(1).await?;
    let before = member.since();
    owner.ask(json!({ "type": "deleteRoom", "id": 2, "roomId": "project:7" })).await?;
    while member.next().await?["type"] != "left" {}
    for place in 0..2 {
        let mut back = Socket::open_as(house.address(place), "member").await?;
        assert!(is_refused(&back.enter("project:7", before.clone()).await?, "ROOM_NOT_FOUND"));
    }
    let joined = member.enter("project:7", Value::Null).await?;
    assert_eq!((&joined["resume"], &joined["seq"]), (&json!("fresh"), &json!(0)));
    assert_ne!(joined["epoch"], before["epoch"]);
    house.close().await
}

/// A room that was deleted, in which a node that is late to tell still counts a member, and two servers.
struct DeletedRoom {
    places: [Place; 2],
    owner: Socket,
    /// A position in the deleted room.
    before: Value,
    _late: Feed,
}

const DELETED: &str = "project:7";

impl DeletedRoom {
    async fn new() -> Result<Self> {
        let backplane = Local::new();
        let places = [over(backplane.clone()).await?, over(backplane.clone()).await?];
        let mut owner = Socket::open_as(places[0].address, "owner").await?;
        owner.ask(json!({ "type": "createRoom", "id": 1, "roomId": DELETED })).await?;
        let before = owner.enter(DELETED, Value::Null).await?;
        let before = json!({ "epoch": before["epoch"], "seq": 0, "eventId": "" });
        let late = Id::parse("late0000000").ok_or("no id")?;
        let feed = backplane.join(late).await?;
        let member = vec![MemberChange::new("member".into(), 1)];
        backplane.update_members(late, MembersUpdate::new(DELETED.into(), member, true)).await?;
        for place in &places {
            until("the member counts", async || {
                let members = place.server.project(7).members().await;
                members.is_ok_and(|members| members.contains(&"member".into()))
            })
            .await?;
        }
        owner.ask(json!({ "type": "deleteRoom", "id": 2, "roomId": DELETED })).await?;
        Ok(DeletedRoom { places, owner, before, _late: feed })
    }

    async fn resume(&self, place: usize) -> Result<Value> {
        Socket::open_as(self.places[place].address, "member").await?.enter(DELETED, self.before.clone()).await
    }

    async fn expect_deleted(&self) -> Result {
        for (place, at) in self.places.iter().enumerate() {
            let back = self.resume(place).await?;
            assert!(is_refused(&back, "ROOM_NOT_FOUND"), "{back}");
            let mut owner = Socket::open_as(at.address, "owner").await?;
            let again = owner.ask(json!({ "type": "deleteRoom", "id": 3, "roomId": DELETED })).await?;
            assert!(is_refused(&again, "ROOM_NOT_FOUND"), "{again}");
        }
        Ok(())
    }

    async fn close(self) -> Result {
        for place in self.places {
            place.stop().await?;
        }
        Ok(())
    }
}

#[tokio::test]
async fn members_who_still_count_in_a_deleted_room_do_not_bring_it_back() -> Result {
    let mut room = DeletedRoom::new().await?;
    room.expect_deleted().await?;
    // Whoever creates it makes it again, at either node, and for all.
    let created = room.owner.ask(json!({ "type": "createRoom", "id": 4, "roomId": DELETED })).await?;
    assert_eq!(created["type"], "ok", "{created}");
    assert_eq!(room.resume(1).await?["resume"], "lost");
    room.close().await
}

#[tokio::test]
async fn a_read_does_not_make_a_deleted_room_again_and_a_join_does() -> Result {
    let room = DeletedRoom::new().await?;
    for place in &room.places {
        place.server.project(7).members().await?;
    }
    room.expect_deleted().await?;
    let mut other = Socket::open_as(room.places[1].address, "other").await?;
    assert_eq!(other.enter(DELETED, Value::Null).await?["type"], "joined");
    for place in 0..2 {
        assert_eq!(room.resume(place).await?["resume"], "lost");
    }
    room.close().await
}

#[tokio::test]
async fn a_list_of_rooms_costs_a_few_round_trips() -> Result {
    const ROOMS: u64 = 500;
    let mut house = House::open(1).await?;
    for room in 0..ROOMS {
        house.places[0].server.project(room).create(NewRoom::new()).await?;
    }
    let _member = house.member(0, "alice", "project:7").await?;
    // One that has none of them in memory.
    house.places.push(open(house.redis.url()).await?);
    let mut reader = Socket::open_as(house.address(1), "bob").await?;
    let list = json!({ "type": "listRooms", "id": 1, "limit": 1_000 });
    let reads = async || -> Result<u64> {
        let stats = house.redis.cli(&["info", "stats"]).await?;
        let reads = stats.lines().find_map(|line| line.strip_prefix("total_reads_processed:"));
        Ok(reads.ok_or("no count")?.trim().parse()?)
    };
    let mut size = Value::Null;
    until("the member is counted", async || {
        let before = reads().await.unwrap_or_default();
        let frame = reader.ask(list.clone()).await.unwrap_or_default();
        let trips = reads().await.unwrap_or(u64::MAX) - before;
        assert!(trips < ROOMS / 2, "{trips} for {ROOMS} rooms");
        let rooms = frame["rooms"].as_array().cloned().unwrap_or_default();
        assert_eq!(rooms.iter().filter(|room| room["name"] == "project").count() as u64, ROOMS);
        size = rooms
            .iter()
            .find(|room| room["roomId"] == "project:7")
            .map_or(Value::Null, |room| room["size"].clone());
        size == 1
    })
    .await
    .map_err(|error| format!("{error}: {size}"))?;
    house.close().await
}

#[tokio::test]
async fn a_room_that_is_full_is_full_everywhere() -> Result {
    let house = House::open(3).await?;
    let alice = house.member(0, "alice", "small").await?;
    let _bob = house.member(1, "bob", "small").await?;
    let mut carol = Socket::open_as(house.address(2), "carol").await?;
    let full = carol.enter("small", Value::Null).await?;
    assert!(is_refused(&full, "ROOM_FULL"), "{full}");
    alice.close().await?;
    until("there is room again", async || {
        carol.enter("small", Value::Null).await.is_ok_and(|joined| joined["type"] == "joined")
    })
    .await?;
    house.close().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_at_once_a_room_lets_in_as_many_as_it_holds() -> Result {
    let house = House::open(3).await?;
    let mut coming = Vec::new();
    for number in 0..30 {
        coming.push(Socket::open_as(house.address(number % 3), &format!("user-{number}")).await?);
    }
    let joining = coming.iter_mut().map(|socket| socket.enter("small", Value::Null));
    let joined = futures_util::future::try_join_all(joining).await?;
    let inside = joined.iter().filter(|joined| joined["type"] == "joined").count();
    assert!(joined.iter().all(|joined| joined["type"] == "joined" || is_refused(joined, "ROOM_FULL")));
    assert_eq!(inside, 2);
    house.close().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_picture_is_right_while_instances_come_and_go() -> Result {
    const STEPS: usize = 60;
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let (mut house, mut rng) = (House::open(3).await?, Rng::with_seed(seed));
    let mut there = Vec::<(usize, String, Socket)>::new();
    for step in 0..STEPS {
        let place = rng.usize(..3);
        match rng.u8(..10) {
            0 => {
                let new = open(house.redis.url()).await?;
                there.retain(|(at, ..)| *at != place);
                std::mem::replace(&mut house.places[place], new).stop().await?;
            }
            1..4 if !there.is_empty() => {
                there.swap_remove(rng.usize(..there.len())).2.reset()?;
            }
            _ => {
                let user = format!("user-{:02}", step % 12);
                there.push((place, user.clone(), house.member(place, &user, "lobby").await?));
            }
        }
    }
    let mut picture = BTreeMap::<&str, u64>::new();
    for (_, user, _) in &there {
        *picture.entry(user).or_default() += 1;
    }
    house.all_say("lobby", &picture.into_iter().collect::<Vec<_>>()).await
}
