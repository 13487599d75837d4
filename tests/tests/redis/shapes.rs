//! Every kind of deployment, every way in.

use bytes::Bytes;
use dialogue::{
    Redis,
    store::{Store, Trim},
};

use dialogue_tests::{Certificates, EPOCH, RedisCluster, RedisServer, Result, Watched, appends, until};

/// Whether what is written is there.
async fn works(redis: &Redis) -> Result {
    let value = Bytes::from_static(b"is here");
    redis.put(vec![("rooms/chat".to_owned(), Some(value.clone()))]).await?;
    assert_eq!(redis.get("rooms/chat").await?, Some(value));
    assert_eq!(redis.unavailable_reason(), None);
    Ok(())
}

#[tokio::test]
async fn a_server_by_itself_and_its_databases() -> Result {
    let server = RedisServer::start().await?;
    works(&Redis::connect(format!("{}/3", server.url())).await?).await?;
    assert_eq!(Redis::connect(server.url()).await?.get("rooms/chat").await?, None);
    assert_eq!(server.cli(&["-n", "3", "dbsize"]).await?, "2");
    Ok(())
}

#[tokio::test]
async fn a_cluster_with_rooms_everywhere() -> Result {
    let cluster = RedisCluster::start().await?;
    let redis = Redis::cluster(cluster.urls()).await?;
    works(&redis).await?;
    let rooms: Vec<_> = (0..50).map(|number| format!("project:{number}")).collect();
    let all = rooms.iter().map(|room| appends(room, 1..=3)).collect::<Result<Vec<_>>>()?.concat();
    redis.append(all).await?;
    for room in &rooms {
        assert_eq!(redis.head(room).await?.map(|head| head.last.seq), Some(3));
    }
    for node in &cluster.nodes {
        until("it has some of them", async || node.cli(&["dbsize"]).await.is_ok_and(|size| size != "0"))
            .await?;
    }
    Ok(())
}

#[tokio::test]
async fn whom_sentinels_name() -> Result {
    let watched = Watched::start().await?;
    works(&Redis::sentinel(watched.urls(), Watched::NAME).await?).await
}

#[tokio::test]
async fn a_user_that_may_do_no_more_than_it_must() -> Result {
    let server = RedisServer::start().await?;
    let rules = "on >p@ss ~acme:* &acme:* -@all +@connection +@read +@write +@scripting +@pubsub";
    let said =
        server.cli(&[&["acl", "setuser", "app"], &rules.split(' ').collect::<Vec<_>>()[..]].concat()).await?;
    assert_eq!(said, "OK");
    let redis =
        Redis::connect(format!("redis://app:p%40ss@127.0.0.1:{}", server.port)).prefix("acme").await?;
    works(&redis).await?;
    redis.append(appends("chat", 1..=3)?).await?;
    redis.trim("chat", Trim::new(EPOCH.into(), 2, 0)).await?;
    redis.remove("chat").await?;
    let others =
        Redis::connect(format!("redis://app:p%40ss@127.0.0.1:{}", server.port)).prefix("others").await?;
    let error = others.get("rooms/chat").await.expect_err("keys of others");
    assert!(error.to_string().contains("NOPERM") && error.to_string().contains("ACL"), "{error}");
    Ok(())
}

#[tokio::test]
async fn applications_share_a_server() -> Result {
    let server = RedisServer::start().await?;
    let acme = Redis::connect(server.url()).prefix("acme").await?;
    let beta = Redis::connect(server.url()).prefix("beta").await?;
    acme.append(appends("chat", 1..=3)?).await?;
    beta.append(appends("chat", 1..=1)?).await?;
    assert_eq!(acme.head("chat").await?.map(|head| head.last.seq), Some(3));
    beta.remove("chat").await?;
    assert_eq!(server.cli(&["keys", "*"]).await?, "acme:{room/chat}:log");
    Ok(())
}

#[tokio::test]
async fn encrypted_with_a_ca_of_ones_own() -> Result {
    let certificates = Certificates::new()?;
    let (_server, port) = certificates.server("no").await?;
    works(&Redis::connect(format!("rediss://localhost:{port}")).ca_pem(certificates.ca.as_str()).await?).await
}

#[tokio::test]
async fn encrypted_both_ends_with_a_certificate() -> Result {
    let certificates = Certificates::new()?;
    let (_server, port) = certificates.server("yes").await?;
    let url = format!("rediss://localhost:{port}");
    let (chain, key) = &certificates.client;
    let redis = Redis::connect(&url)
        .ca_pem(certificates.ca.as_str())
        .client_pem(chain.as_str(), key.as_str())
        .await?;
    works(&redis).await?;
    let error = Redis::connect(&url).ca_pem(certificates.ca.as_str()).await.expect_err("no certificate");
    assert!(error.to_string().contains("client_pem"), "{error}");
    Ok(())
}
