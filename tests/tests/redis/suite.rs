//! The conformance kit for stores, over one server and over a Cluster.

use dialogue::Redis;

use dialogue_tests::{RedisServer, Result};

/// Starts a server apart from the test's own runtime, which waits for it.
fn started(cluster: bool) -> RedisServer {
    let starting = std::thread::spawn(move || -> Result<RedisServer> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        match cluster {
            true => runtime.block_on(RedisServer::with_all_slots()),
            false => runtime.block_on(RedisServer::start()),
        }
    });
    starting.join().expect("no panic").expect("a server")
}

dialogue::testing::store_suite! {
    mod alone;
    place = || started(false);
    open = async |server: &RedisServer| Redis::connect(server.url()).await.expect("a connection");
}

dialogue::testing::store_suite! {
    mod cluster;
    place = || started(true);
    open = async |server: &RedisServer| Redis::cluster([server.url()]).await.expect("a connection");
}
