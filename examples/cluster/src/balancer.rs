//! A load balancer of the smallest kind: whoever connects is led to the next instance that is well, byte by byte.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::family::Addresses;

/// How often an instance is asked whether it is well, and how long it may take to say so.
const EVERY: Duration = Duration::from_millis(500);
/// Connections at once.
const MOST: usize = 10_000;

/// Leads connections to the instances, until it is dropped.
pub(crate) async fn serve(listener: TcpListener, addresses: Addresses) {
    let mut tasks = JoinSet::new();
    let backends: Arc<[_]> = addresses.into_iter().map(|address| watched(address, &mut tasks)).collect();
    let next = Arc::new(AtomicUsize::new(0));
    loop {
        tokio::select! {
            Ok((client, _)) = listener.accept() => {
                if tasks.len() < MOST {
                    tasks.spawn(lead(client, Arc::clone(&backends), Arc::clone(&next)));
                }
            }
            Some(_) = tasks.join_next() => {}
        }
    }
}

/// An instance's address while it says that it is well.
type Backend = watch::Receiver<Option<SocketAddr>>;

fn watched(mut address: Backend, tasks: &mut JoinSet<()>) -> Backend {
    let (well, backend) = watch::channel(*address.borrow_and_update());
    tasks.spawn(async move {
        loop {
            let at = *address.borrow_and_update();
            let is_well = match at {
                Some(at) => timeout(EVERY, is_well(at)).await.unwrap_or(false),
                None => false,
            };
            well.send_replace(at.filter(|_| is_well));
            sleep(EVERY).await;
        }
    });
    backend
}

async fn is_well(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(address).await else { return false };
    let request = format!("GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let mut start = [0; 12];
    stream.write_all(request.as_bytes()).await.is_ok()
        && stream.read_exact(&mut start).await.is_ok()
        && start.ends_with(b" 200")
}

/// Leads one connection to the next instance that takes it.
async fn lead(mut client: TcpStream, backends: Arc<[Backend]>, next: Arc<AtomicUsize>) {
    let first = next.fetch_add(1, Ordering::Relaxed);
    for step in 0..backends.len() {
        let address = *backends[(first.wrapping_add(step)) % backends.len()].borrow();
        let Some(address) = address else { continue };
        if let Ok(mut instance) = TcpStream::connect(address).await {
            // What is small and at once is to stay so.
            let _ = (client.set_nodelay(true), instance.set_nodelay(true));
            // Ends with either side; what broke it, both know.
            let _ = copy_bidirectional(&mut client, &mut instance).await;
            return;
        }
    }
}
