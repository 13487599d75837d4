//! What a restart changes: nothing.

use dialogue::{server::NewRoom, store::Memory};

use crate::{Board, Message, said, say, serve};

#[tokio::test(start_paused = true)]
async fn a_log_goes_on_where_it_was() {
    let store = Memory::new();
    for run in 0..4_u64 {
        let server = serve(store.clone()).await;
        for n in 0..700 {
            assert_eq!(say(&server, format!("{run}.{n}")).await.unwrap().seq, Some(run * 700 + n + 1));
        }
        let expected = (0..=run).flat_map(|run| (0..700).map(move |n| format!("{run}.{n}")));
        assert_eq!(said(&server).await, (1..).zip(expected).collect::<Vec<_>>());
    }
}

#[tokio::test(start_paused = true)]
async fn a_room_made_at_run_time_comes_back_as_it_was() {
    let store = Memory::new();
    let server = serve(store.clone()).await;
    let room = NewRoom::new().name("Apollo").description("To the moon").max_size(9).created_by("alice");
    server.project(7).create(room).await.unwrap();
    server.project(8).trigger(Message { text: "made by this".into() }).await.unwrap();
    let before = server.project(7).describe().await.unwrap();
    assert_eq!(before.as_ref().map(|room| room.name.as_str()), Some("Apollo"));
    drop(server);

    let server = serve(store).await;
    assert_eq!(server.project(7).describe().await.unwrap(), before);
    assert_eq!(server.project(8).describe().await.unwrap().map(|room| room.created_by), Some(None));
    assert_eq!(server.project(9).describe().await.unwrap(), None);
    let again = server.project(7).create(NewRoom::new()).await.unwrap_err();
    assert_eq!(again.code, dialogue::Code::RoomExists);
}

#[tokio::test(start_paused = true)]
async fn what_was_deleted_stays_so_and_its_place_is_new() {
    let store = Memory::new();
    let server = serve(store.clone()).await;
    server.project(7).trigger(Message { text: "old".into() }).await.unwrap();
    drop(server);
    // Not in memory: it is found in the store.
    let server = serve(store.clone()).await;
    assert!(server.project(7).delete().await.unwrap());
    assert!(!server.project(7).delete().await.unwrap());
    drop(server);
    let server = serve(store).await;
    assert_eq!(server.project(7).describe().await.unwrap(), None);
    let accepted = server.project(7).trigger(Message { text: "new".into() }).await.unwrap();
    assert_eq!(accepted.seq, Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_room_has_its_state_again() {
    let store = Memory::new();
    let server = serve(store.clone()).await;
    assert_eq!(server.project(7).state().await.unwrap().version, 0);
    server.project(7).update(|board| board.tasks.push("one".into())).await.unwrap();
    server.project(7).update(|board| board.tasks.push("two".into())).await.unwrap();
    drop(server);
    let saved = serve(store).await.project(7).state().await.unwrap();
    assert_eq!(saved.version, 2);
    assert_eq!(saved.state, Board { tasks: vec!["one".into(), "two".into()] });
}
