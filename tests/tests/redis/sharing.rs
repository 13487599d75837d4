//! Several nodes over one Redis: one order, whoever writes, and everybody is told.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use dialogue::{
    Redis,
    backplane::{
        Draft, DraftOutcome, Feed, FeedEvents, FeedMessage, MemberChange, MembersUpdate, NodeMessages,
        Publication, SharedLogs, SharedMembers,
    },
    store::{Order, Query, Store, StoredEvent, Trim},
    wire::Id,
};
use tokio::time::timeout;

use dialogue_tests::{EPOCH, Proxy, RedisCluster, RedisServer, Result, event, seqs, soon, until};

/// One instance of an application.
struct Peer {
    id: Id,
    redis: Redis,
    feed: Feed,
    /// The newest event that it knows of the room.
    after: u64,
}

const ROOM: &str = "chat";

impl Peer {
    async fn join(number: u8, redis: Redis) -> Result<Self> {
        let id = Id::parse(&format!("node{number:07}")).ok_or("no id")?;
        let feed = redis.join(id).await?;
        let mut node = Peer { id, redis, feed, after: 0 };
        node.feed.follower().follow(ROOM.into());
        node.heard("the room is followed", |told| matches!(told, FeedMessage::Gap(room) if **room == *ROOM))
            .await?;
        Ok(node)
    }

    /// The next thing told that `is` what is waited for; others are left out.
    async fn heard(&mut self, what: &str, is: impl Fn(&FeedMessage) -> bool) -> Result<FeedMessage> {
        soon(what, async {
            loop {
                let told = self.feed.next().await.ok_or("the feed ended")?;
                if is(&told) {
                    return Ok(told);
                }
            }
        })
        .await?
    }

    async fn batch(&mut self) -> Result<FeedEvents> {
        match self.heard("events", |told| matches!(told, FeedMessage::Events(_))).await? {
            FeedMessage::Events(batch) => Ok(batch),
            other => Err(format!("{other:?}").into()),
        }
    }

    fn share_of(&self, drafts: Vec<StoredEvent>) -> Publication {
        let drafts = drafts.into_iter().map(|event| Draft::new(event, 100)).collect();
        let mut share = Publication::new(ROOM.into(), EPOCH.into(), drafts);
        share.after = self.after;
        share
    }

    /// Puts in so many events; yields the numbers of what it had missed, and those that they got.
    async fn put(&mut self, count: u64) -> Result<(Vec<u64>, Vec<u64>)> {
        let drafts = (self.after + 1..=self.after + count).map(event).collect::<Result<_>>()?;
        let shared = self.redis.publish(self.id, vec![self.share_of(drafts)]).await.swap_remove(0)?;
        let kept: Vec<_> = shared.outcomes.iter().filter_map(kept).collect();
        self.after = kept.last().copied().unwrap_or(self.after);
        Ok((seqs(&shared.missed), kept))
    }

    /// Puts in three events again and again; yields the numbers that they got.
    async fn put_often(&mut self, times: u64) -> Result<Vec<u64>> {
        let mut own = Vec::new();
        for _ in 0..times {
            own.extend(self.put(3).await?.1);
        }
        Ok(own)
    }
}

fn kept(kept: &DraftOutcome) -> Option<u64> {
    match kept {
        DraftOutcome::Published(event) => Some(event.seq),
        DraftOutcome::Duplicate(_) => None,
    }
}

fn with_key(seq: u64, key: &str) -> Result<StoredEvent> {
    let mut event = event(seq)?;
    event.key = Some(key.into());
    Ok(event)
}

#[tokio::test]
async fn what_one_puts_in_the_other_hears_and_goes_on_behind() -> Result {
    let server = RedisServer::start().await?;
    let mut a = Peer::join(1, Redis::connect(server.url()).await?).await?;
    let mut b = Peer::join(2, Redis::connect(server.url()).await?).await?;
    assert_eq!(a.put(3).await?, (vec![], vec![1, 2, 3]));
    let batch = b.batch().await?;
    assert_eq!((batch.after, batch.node, &*batch.epoch), (0, a.id, EPOCH));
    assert_eq!(seqs(&batch.events), [1, 2, 3]);
    assert_eq!(b.put(2).await?, (vec![1, 2, 3], vec![4, 5]));
    assert_eq!(a.put(1).await?, (vec![4, 5], vec![6]));
    let page = a.redis.read(ROOM, Query::new(Order::OldestFirst, 10)).await?;
    assert_eq!(seqs(&page.events), [1, 2, 3, 4, 5, 6]);
    assert!(page.events.windows(2).all(|pair| pair[0].timestamp <= pair[1].timestamp));
    let offsets: Vec<_> = page.events.iter().map(|event| event.offset).collect();
    assert_eq!(offsets, [0, 100, 200, 300, 400, 500]);
    Ok(())
}

#[tokio::test]
async fn a_key_counts_once_whoever_is_asked() -> Result {
    let server = RedisServer::start().await?;
    let a = Peer::join(1, Redis::connect(server.url()).await?).await?;
    let b = Peer::join(2, Redis::connect(server.url()).await?).await?;
    let first = a.redis.publish(a.id, vec![a.share_of(vec![with_key(1, "k")?])]).await.swap_remove(0)?;
    let DraftOutcome::Published(first) = &first.outcomes[0] else { return Err("it is no duplicate".into()) };
    let drafts = vec![event(1)?, with_key(2, "k")?, with_key(3, "another")?];
    let again = b.redis.publish(b.id, vec![b.share_of(drafts)]).await.swap_remove(0)?;
    assert_eq!(again.outcomes.iter().map(kept).collect::<Vec<_>>(), [Some(2), None, Some(3)]);
    let DraftOutcome::Duplicate(seen) = &again.outcomes[1] else { return Err("it is a duplicate".into()) };
    assert_eq!((seen.seq, seen.event_id, seen.timestamp), (1, first.event_id, first.timestamp));
    assert_eq!(a.redis.keys(ROOM, 0).await?.len(), 2);
    Ok(())
}

#[tokio::test]
async fn what_is_told_only_keeps_its_place_and_no_number() -> Result {
    let server = RedisServer::start().await?;
    let mut a = Peer::join(1, Redis::connect(server.url()).await?).await?;
    let mut b = Peer::join(2, Redis::connect(server.url()).await?).await?;
    let shares = [vec![event(1)?, event(0)?, event(2)?], vec![event(0)?]];
    for drafts in shares {
        a.redis.publish(a.id, vec![a.share_of(drafts)]).await.swap_remove(0)?;
        a.after = 2;
    }
    assert_eq!(seqs(&b.batch().await?.events), [1, 0, 2]);
    assert_eq!(seqs(&b.batch().await?.events), [0]);
    a.redis.send(a.id, ROOM, "psst".into()).await?;
    let told = b.heard("a message", |told| matches!(told, FeedMessage::Message { .. })).await?;
    assert_eq!(told, FeedMessage::Message { room_id: ROOM.into(), node: a.id, message: "psst".into() });
    assert_eq!(b.redis.heads(&[ROOM.into(), "empty".into()]).await?.len(), 2);
    Ok(())
}

#[tokio::test]
async fn an_exact_share_is_kept_as_it_is_or_not_at_all() -> Result {
    let server = RedisServer::start().await?;
    let mut a = Peer::join(1, Redis::connect(server.url()).await?).await?;
    let b = Peer::join(2, Redis::connect(server.url()).await?).await?;
    a.put(2).await?;
    let mut share = b.share_of(vec![event(1)?]);
    share.exact = true;
    let behind = b.redis.publish(b.id, vec![share]).await.swap_remove(0)?;
    assert_eq!((seqs(&behind.missed), behind.outcomes.len()), (vec![1, 2], 0));
    let mut share = b.share_of(vec![event(3)?]);
    (share.exact, share.after, share.after_id) = (true, 2, behind.missed.last().map(|last| last.event_id));
    let exact = b.redis.publish(b.id, vec![share]).await.swap_remove(0)?;
    assert_eq!(exact.outcomes, [DraftOutcome::Published(event(3)?)]);
    Ok(())
}

#[tokio::test]
async fn a_log_that_is_another_is_a_conflict() -> Result {
    let server = RedisServer::start().await?;
    let mut a = Peer::join(1, Redis::connect(server.url()).await?).await?;
    a.put(2).await?;
    let mut wrong = [a.share_of(vec![event(3)?]), a.share_of(vec![event(3)?]), a.share_of(vec![event(9)?])];
    wrong[0].after_id = Id::parse("anotherid00");
    wrong[1].epoch = "another".into();
    wrong[2].after = 8;
    for share in wrong {
        let error = a.redis.publish(a.id, vec![share]).await.swap_remove(0).expect_err("another log");
        assert!(error.is_conflict(), "{error}");
    }
    server.cli(&["flushall"]).await?;
    assert!(a.put(1).await.is_err());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_writers_at_once_make_one_order() -> Result {
    let cluster = RedisCluster::start().await?;
    let mut nodes = Vec::new();
    for number in 0..3 {
        nodes.push(Peer::join(number, Redis::cluster(cluster.urls()).await?).await?);
    }
    let mut listener = Peer::join(9, Redis::cluster(cluster.urls()).await?).await?;
    let mut writing = tokio::task::JoinSet::new();
    for mut node in nodes {
        writing.spawn(async move { node.put_often(100).await });
    }
    let mut all = BTreeSet::new();
    for own in writing.join_all().await {
        all.extend(own?);
    }
    assert_eq!(all, (1..=900).collect());
    let mut heard = Vec::new();
    while heard.len() < 900 {
        let batch = listener.batch().await?;
        assert_eq!(batch.after, heard.last().copied().unwrap_or(0));
        heard.extend(seqs(&batch.events));
    }
    assert_eq!(heard, (1..=900).collect::<Vec<_>>());
    Ok(())
}

#[tokio::test]
async fn after_a_cut_the_room_is_said_to_have_a_gap() -> Result {
    let server = RedisServer::start().await?;
    let proxy = Proxy::to(server.port).await?;
    let mut a = Peer::join(1, Redis::connect(server.url()).await?).await?;
    let mut b = Peer::join(2, Redis::connect(proxy.url()).await?).await?;
    for round in 1..=3 {
        proxy.reset();
        b.heard("a gap", |told| matches!(told, FeedMessage::Gap(_))).await?;
        a.put(1).await?;
        assert_eq!(seqs(&b.batch().await?.events), [round]);
    }
    Ok(())
}

#[tokio::test]
async fn a_room_is_followed_through_a_failover() -> Result {
    let mut cluster = RedisCluster::watchful().await?;
    let mut a = Peer::join(1, Redis::cluster(cluster.urls()).await?).await?;
    let mut b = Peer::join(2, Redis::cluster(cluster.urls()).await?).await?;
    a.put(1).await?;
    b.batch().await?;
    let primary = cluster.primary_of("dialogue:{room/chat}:log").await?;
    cluster.nodes[primary].is_copied().await?;
    cluster.replace(primary).await?;
    until("its replica takes what is put", async || a.put(1).await.is_ok()).await?;
    b.heard("a gap", |told| matches!(told, FeedMessage::Gap(_))).await?;
    // The old primary may be listened to before it knows that it is a replica, and miss what is said until it does: whoever
    // compares the log's end finds that. But nobody is deaf from then on.
    let heard = async {
        loop {
            // It may be refused as long as the two servers don't agree.
            let _ = a.put(1).await;
            if let Ok(batch) = timeout(Duration::from_secs(1), b.batch()).await {
                return batch;
            }
        }
    };
    let batch = soon("what is put after it", heard).await??;
    assert!(seqs(&batch.events).last() >= Some(&2), "{batch:?}");
    Ok(())
}

#[tokio::test]
async fn what_was_shared_is_trimmed_if_it_is_what_was_meant() -> Result {
    let server = RedisServer::start().await?;
    let redis = Redis::connect(server.url()).await?;
    let node = Id::parse("peer0000001").ok_or("no id")?;
    // What an id of Redis can say, and what it can't.
    for (room, epoch) in [("chat", EPOCH), ("feed", "K2F9")] {
        let drafts = (1..=5).map(event).collect::<Result<Vec<_>>>()?;
        let drafts = drafts.into_iter().map(|event| Draft::new(event, 100)).collect();
        redis
            .publish(node, vec![Publication::new(room.into(), epoch.into(), drafts)])
            .await
            .swap_remove(0)?;
        for (named, first) in [("another", 1), (epoch, 3)] {
            redis.trim(room, Trim::new(named.into(), 3, 0)).await?;
            let head = redis.head(room).await?.ok_or("no log")?;
            assert_eq!((&*head.epoch, head.first, head.last.seq), (epoch, first, 5), "{named}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_room_is_followed_to_where_its_slot_goes() -> Result {
    let cluster = RedisCluster::start().await?;
    let mut a = Peer::join(1, Redis::cluster(cluster.urls()).await?).await?;
    let mut b = Peer::join(2, Redis::cluster(cluster.urls()).await?).await?;
    for round in 1..=3 {
        a.put(1).await?;
        assert_eq!(seqs(&b.batch().await?.events), [round]);
        cluster.move_slot("dialogue:{room/chat}:log").await?;
        b.heard("a gap", |told| matches!(told, FeedMessage::Gap(_))).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_peer_that_may_not_listen_is_told_so_at_once() -> Result {
    let server = RedisServer::start().await?;
    let rules = "on >p ~* resetchannels +@all";
    server.cli(&[&["acl", "setuser", "deaf"], &rules.split(' ').collect::<Vec<_>>()[..]].concat()).await?;
    let redis = Redis::connect(format!("redis://deaf:p@127.0.0.1:{}", server.port)).await?;
    let error = redis.join(Id::parse("peer0000001").ok_or("no id")?).await.expect_err("it hears nothing");
    assert!(error.to_string().contains("NOPERM") && error.to_string().contains("channels"), "{error}");
    Ok(())
}

#[tokio::test]
async fn whoever_is_in_is_known_everywhere() -> Result {
    let server = RedisServer::start().await?;
    let a = Peer::join(1, Redis::connect(server.url()).await?).await?;
    let mut b = Peer::join(2, Redis::connect(server.url()).await?).await?;
    let alice = |connections| vec![MemberChange::new("alice".into(), connections)];
    assert!(a.redis.update_members(a.id, MembersUpdate::new(ROOM.into(), alice(2), true)).await?);
    let told = b.heard("who came", |told| matches!(told, FeedMessage::Members { .. })).await?;
    assert_eq!(told, FeedMessage::Members { room_id: ROOM.into(), node: a.id, changes: alice(2) });
    let mut roll = MembersUpdate::new(ROOM.into(), alice(1), true);
    roll.max_connections = Some(2);
    assert!(!b.redis.update_members(b.id, roll.clone()).await?);
    assert!(a.redis.update_members(a.id, MembersUpdate::new(ROOM.into(), alice(1), true)).await?);
    assert!(b.redis.update_members(b.id, roll).await?);
    let members = b.redis.members(ROOM).await?;
    let nodes: BTreeSet<_> =
        members.iter().map(|member| (member.node, Arc::clone(&member.user_id))).collect();
    assert_eq!(nodes, BTreeSet::from([(a.id, "alice".into()), (b.id, "alice".into())]));
    Ok(())
}

#[tokio::test]
async fn a_peer_that_is_gone_is_gone_for_all() -> Result {
    let server = RedisServer::start().await?;
    let proxy = Proxy::to(server.port).await?;
    let mut a = Peer::join(1, Redis::connect(server.url()).await?).await?;
    let mut b = Peer::join(2, Redis::connect(proxy.url()).await?).await?;
    let both = BTreeSet::from([a.id, b.id]);
    a.heard("both", |told| matches!(told, FeedMessage::Nodes(nodes) if *nodes == both)).await?;
    b.redis
        .update_members(b.id, MembersUpdate::new(ROOM.into(), vec![MemberChange::new("bob".into(), 1)], true))
        .await?;
    // It is there still, and can't say so.
    proxy.stall(true);
    let alone = BTreeSet::from([a.id]);
    a.heard("it is gone", |told| matches!(told, FeedMessage::Nodes(nodes) if *nodes == alone)).await?;
    until("it is out of its rooms", async || {
        a.redis.members(ROOM).await.is_ok_and(|members| members.is_empty())
    })
    .await?;
    proxy.stall(false);
    b.heard("it has to say again who is there", |told| *told == FeedMessage::Forgotten).await?;
    a.heard("it is back", |told| matches!(told, FeedMessage::Nodes(nodes) if *nodes == both)).await?;
    drop(b);
    a.heard("it left", |told| matches!(told, FeedMessage::Nodes(nodes) if *nodes == alone)).await.map(drop)
}
