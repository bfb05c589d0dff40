//! A TCP proxy in front of a server: it lets a test cut a service off and let it back, without touching the server.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A proxy on a port of its own. While it is down it has no open connection and refuses new ones.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    target: SocketAddr,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Proxy {
    /// Starts to pass on to `host:port`.
    pub async fn to(target: &str) -> Arc<Self> {
        let target = lookup_host(target).await.unwrap().next().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self { address: listener.local_addr().unwrap(), target, running: Mutex::new(None) };
        proxy.run(listener);
        Arc::new(proxy)
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts every connection and refuses new ones.
    pub async fn cut(&self) {
        let running = self.running.lock().unwrap().take();
        if let Some(Running { stop, tasks }) = running {
            stop.cancel();
            tasks.close();
            tasks.wait().await;
        }
    }

    /// Passes on again, on the same port.
    pub async fn restore(&self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.run(listener);
    }

    fn run(&self, listener: TcpListener) {
        let running = Running { stop: CancellationToken::new(), tasks: TaskTracker::new() };
        let (stop, tasks, target) = (running.stop.clone(), running.tasks.clone(), self.target);
        running.tasks.spawn(async move {
            loop {
                let (mut client, _) = tokio::select! {
                    () = stop.cancelled() => return,
                    accepted = listener.accept() => match accepted {
                        Ok(accepted) => accepted,
                        Err(_) => continue,
                    },
                };
                let stop = stop.clone();
                tasks.spawn(async move {
                    let Ok(mut server) = TcpStream::connect(target).await else { return };
                    tokio::select! {
                        () = stop.cancelled() => {}
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                    }
                });
            }
        });
        *self.running.lock().unwrap() = Some(running);
    }
}
