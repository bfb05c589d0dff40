//! A TCP proxy in front of a server: it lets a test cut a service off and let it back, without touching the server.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{copy, copy_bidirectional, sink},
    net::{TcpListener, TcpStream, lookup_host},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A proxy on a port of its own. While it is down it has no open connection and refuses new ones.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    target: SocketAddr,
    /// One for each connection that the client has not closed.
    open: Arc<()>,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    stop: CancellationToken,
    silent: CancellationToken,
    tasks: TaskTracker,
}

impl Proxy {
    /// Starts to pass on to `host:port`.
    pub async fn to(target: &str) -> Arc<Self> {
        let target = lookup_host(target).await.unwrap().next().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, open) = (listener.local_addr().unwrap(), Arc::new(()));
        let proxy = Self { address, target, open, running: Mutex::new(None) };
        proxy.run(listener);
        Arc::new(proxy)
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections the client has open.
    pub fn open(&self) -> usize {
        Arc::strong_count(&self.open) - 1
    }

    /// From now on everything stays open and nothing arrives, as in a network that swallows what it is given.
    pub fn silence(&self) {
        if let Some(running) = &*self.running.lock().unwrap() {
            running.silent.cancel();
        }
    }

    /// Cuts every connection and refuses new ones.
    pub async fn cut(&self) {
        let running = self.running.lock().unwrap().take();
        if let Some(Running { stop, tasks, .. }) = running {
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
        let (stop, silent) = (CancellationToken::new(), CancellationToken::new());
        let running = Running { stop: stop.clone(), silent: silent.clone(), tasks: TaskTracker::new() };
        let (tasks, target, open) = (running.tasks.clone(), self.target, Arc::downgrade(&self.open));
        running.tasks.spawn(async move {
            loop {
                let (mut client, _) = tokio::select! {
                    () = stop.cancelled() => return,
                    accepted = listener.accept() => match accepted {
                        Ok(accepted) => accepted,
                        Err(_) => continue,
                    },
                };
                let (stop, silent, open) = (stop.clone(), silent.clone(), open.upgrade());
                tasks.spawn(async move {
                    let _open = open;
                    let Ok(mut server) = TcpStream::connect(target).await else { return };
                    let passes = async {
                        tokio::select! {
                            _ = copy_bidirectional(&mut client, &mut server) => return,
                            () = silent.cancelled() => {}
                        }
                        // Until the client closes it.
                        let _ = copy(&mut client, &mut sink()).await;
                    };
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = passes => {}
                    }
                });
            }
        });
        *self.running.lock().unwrap() = Some(running);
    }
}
