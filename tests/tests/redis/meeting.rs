//! What is said when a connection doesn't come about.

use std::{future::IntoFuture, time::Duration};

use dialogue::{
    Redis,
    redis::{RedisError, RedisErrorKind},
};
use tokio::net::TcpListener;

use dialogue_tests::{Certificates, RedisCluster, RedisServer, Result, Watched, free_port, soon};

/// The error of what should fail.
async fn refused(connecting: impl IntoFuture<Output = Result<Redis, RedisError>>) -> Result<RedisError> {
    match soon("an error", connecting.into_future()).await? {
        Err(error) => {
            assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
            Ok(error)
        }
        Ok(_) => Err("it connected".into()),
    }
}

#[tokio::test]
async fn nobody_is_there() -> Result {
    let port = free_port()?;
    let error = refused(Redis::connect(format!("redis://:secret@127.0.0.1:{port}"))).await?;
    assert_eq!(error.kind(), RedisErrorKind::Unreachable);
    let text = error.to_string();
    assert!(text.contains(&format!("127.0.0.1:{port}")) && text.contains("is the server running"), "{text}");
    Ok(())
}

#[tokio::test]
async fn nobody_answers() -> Result {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("redis://{}", listener.local_addr()?);
    let error = refused(Redis::connect(url).connect_timeout(Duration::from_millis(100))).await?;
    assert_eq!(error.kind(), RedisErrorKind::Unreachable);
    assert!(error.to_string().contains("did not answer within 100ms"), "{error}");
    Ok(())
}

#[tokio::test]
async fn what_is_no_url_is_told_before_anything_else() -> Result {
    for url in ["localhost", "http://h", "redis://secret@h/x"] {
        assert_eq!(refused(Redis::connect(url)).await?.kind(), RedisErrorKind::Configuration, "{url}");
    }
    let nobody: [&str; 0] = [];
    assert_eq!(refused(Redis::cluster(nobody)).await?.kind(), RedisErrorKind::Configuration);
    let error = refused(Redis::connect("redis://h").prefix("a{b}")).await?;
    assert!(error.to_string().contains("the prefix"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_password_is_wanted_and_the_right_one() -> Result {
    let server =
        RedisServer::letting_in(&["--requirepass", "secret", "--save", ""], &["-a", "secret"]).await?;
    let host = format!("127.0.0.1:{}", server.port);
    let error = refused(Redis::connect(format!("redis://{host}"))).await?;
    assert_eq!(error.kind(), RedisErrorKind::Denied);
    assert!(error.to_string().contains("wants a password"), "{error}");
    let error = refused(Redis::connect(format!("redis://:another-secret@{host}"))).await?;
    assert_eq!(error.kind(), RedisErrorKind::Denied);
    assert!(error.to_string().contains("does not accept the default user"), "{error}");
    let error = refused(Redis::connect(format!("redis://bob:secret@{host}"))).await?;
    assert!(error.to_string().contains("user `bob`"), "{error}");
    Redis::connect(format!("redis://:secret@{host}")).await?;
    Ok(())
}

#[tokio::test]
async fn a_database_that_is_not_there() -> Result {
    let server = RedisServer::start().await?;
    let error = refused(Redis::connect(format!("{}/99", server.url()))).await?;
    assert_eq!(error.kind(), RedisErrorKind::Denied);
    assert!(error.to_string().contains("database 99"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_replica_is_no_place_to_write() -> Result {
    let watched = Watched::start().await?;
    let error = refused(Redis::connect(watched.replica.url())).await?;
    assert_eq!(error.kind(), RedisErrorKind::Unsupported);
    assert!(error.to_string().contains("is a replica"), "{error}");
    let error = refused(Redis::sentinel(watched.urls(), "another")).await?;
    assert!(error.to_string().contains("knows no primary `another`"), "{error}");
    let sentinel = watched.urls().swap_remove(0);
    let error = refused(Redis::connect(sentinel)).await?;
    assert!(error.to_string().contains("use `Redis::sentinel`"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_cluster_and_a_single_server_are_told_apart() -> Result {
    let server = RedisServer::start().await?;
    let error = refused(Redis::cluster([server.url()])).await?;
    assert_eq!(error.kind(), RedisErrorKind::Unsupported);
    assert!(error.to_string().contains("use `Redis::connect`"), "{error}");
    let cluster = RedisCluster::start().await?;
    let error = refused(Redis::connect(cluster.urls().swap_remove(0))).await?;
    assert!(error.to_string().contains("use `Redis::cluster`"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_certificate_of_a_stranger_is_not_trusted() -> Result {
    let (ours, theirs) = (Certificates::new()?, Certificates::new()?);
    let (server, port) = theirs.server("no").await?;
    let url = format!("rediss://localhost:{port}");
    let error = refused(Redis::connect(&url).ca_pem(ours.ca.as_str())).await?;
    assert_eq!(error.kind(), RedisErrorKind::Tls);
    assert!(error.to_string().contains("ca_pem"), "{error}");
    let error = refused(Redis::connect(format!("redis://localhost:{port}"))).await?;
    assert!(error.to_string().contains("rediss://"), "{error}");
    let plain = Redis::connect(format!("rediss://localhost:{}", server.port)).ca_pem(theirs.ca.as_str());
    let error = refused(plain.connect_timeout(Duration::from_millis(500))).await?;
    assert!(error.to_string().contains("is this its TLS port"), "{error}");
    Ok(())
}
