//! A way to the broker that keeps a record of what the client says, and can put words into the broker's mouth.
//!
//! Frames as of AMQP 0-9-1, section 4.2.3. What a broker does only in need, such as blocking its publishers, is said
//! here to one connection, where a real alarm would stop every other test.

use std::sync::{Arc, Mutex};

use testkit::TestBroker;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, lookup_host, tcp::OwnedReadHalf},
    sync::mpsc::{UnboundedSender, unbounded_channel},
};

/// Class and method of what is looked for, section 1 of the specification's reference.
pub(crate) const START_OK: [u8; 4] = [0, 10, 0, 11];
pub(crate) const TUNE_OK: [u8; 4] = [0, 10, 0, 31];
pub(crate) const QOS: [u8; 4] = [0, 60, 0, 10];
pub(crate) const CONSUME: [u8; 4] = [0, 60, 0, 20];
pub(crate) const PUBLISH: [u8; 4] = [0, 60, 0, 40];
pub(crate) const ACK: [u8; 4] = [0, 60, 0, 80];

/// One frame, as it was sent.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    bytes: Vec<u8>,
}

impl Frame {
    async fn read(from: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Self> {
        let mut bytes = vec![0; 7];
        from.read_exact(&mut bytes).await?;
        let size = u32::from_be_bytes([bytes[3], bytes[4], bytes[5], bytes[6]]) as usize;
        bytes.resize(7 + size + 1, 0);
        from.read_exact(&mut bytes[7..]).await?;
        Ok(Self { bytes })
    }

    /// A method on channel 0.
    fn of_connection(method: [u8; 4], arguments: &[u8]) -> Self {
        let size = u32::try_from(4 + arguments.len()).unwrap().to_be_bytes();
        Self { bytes: [&[1, 0, 0][..], &size, &method, arguments, &[0xce]].concat() }
    }

    /// The arguments, when it is this method.
    pub(crate) fn arguments(&self, method: [u8; 4]) -> Option<&[u8]> {
        let payload = &self.bytes[7..self.bytes.len() - 1];
        (self.bytes[0] == 1).then(|| payload.strip_prefix(&method)).flatten()
    }

    pub(crate) fn channel(&self) -> u16 {
        u16::from_be_bytes([self.bytes[1], self.bytes[2]])
    }
}

/// One connection through the tap.
#[derive(Debug)]
pub(crate) struct Wire {
    said: Mutex<Vec<Frame>>,
    to_client: UnboundedSender<Frame>,
}

impl Wire {
    /// Every frame of the client with this method.
    pub(crate) fn said(&self, method: [u8; 4]) -> Vec<Frame> {
        self.said.lock().unwrap().iter().filter(|frame| frame.arguments(method).is_some()).cloned().collect()
    }

    /// As the broker does under an alarm.
    pub(crate) fn block(&self) {
        self.to_client.send(Frame::of_connection([0, 10, 0, 60], b"\x08low disk")).unwrap();
    }

    /// As the broker does when the alarm is over.
    pub(crate) fn unblock(&self) {
        self.to_client.send(Frame::of_connection([0, 10, 0, 61], b"")).unwrap();
    }
}

/// The tap.
#[derive(Debug)]
pub(crate) struct Wiretap {
    /// The URL of the virtual host, through the tap.
    pub(crate) url: String,
    wires: Arc<Mutex<Vec<Arc<Wire>>>>,
}

impl Wiretap {
    pub(crate) async fn on(broker: &TestBroker) -> Self {
        let target = lookup_host(broker.address()).await.unwrap().next().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let wires = Arc::<Mutex<Vec<Arc<Wire>>>>::default();
        let tapped = Arc::clone(&wires);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(target).await.unwrap();
                tapped.lock().unwrap().push(tap(client, server));
            }
        });
        Self { url: broker.url().replace(broker.address(), &address), wires }
    }

    /// The connections whose client has introduced itself by this name.
    pub(crate) fn wires(&self, name: &str) -> Vec<Arc<Wire>> {
        let named = |wire: &&Arc<Wire>| {
            let mut introductions = wire.said(START_OK).into_iter();
            introductions.any(|frame| frame.bytes.windows(name.len()).any(|bytes| bytes == name.as_bytes()))
        };
        self.wires.lock().unwrap().iter().filter(named).cloned().collect()
    }
}

/// Carries one connection, frame by frame, until either side ends it.
fn tap(client: TcpStream, server: TcpStream) -> Arc<Wire> {
    let (mut from_client, mut into_client) = client.into_split();
    let (from_server, mut into_server) = server.into_split();
    let (to_client, mut for_client) = unbounded_channel::<Frame>();
    let wire = Arc::new(Wire { said: Mutex::default(), to_client: to_client.clone() });
    tokio::spawn(forward(from_server, to_client));
    tokio::spawn(async move {
        while let Some(frame) = for_client.recv().await {
            if into_client.write_all(&frame.bytes).await.is_err() {
                return;
            }
        }
    });
    let tapped = Arc::clone(&wire);
    tokio::spawn(async move {
        let mut greeting = [0; 8];
        if from_client.read_exact(&mut greeting).await.is_err() || into_server.write_all(&greeting).await.is_err() {
            return;
        }
        while let Ok(frame) = Frame::read(&mut from_client).await {
            // Noted before it is sent: who has the answer finds the question.
            tapped.said.lock().unwrap().push(frame.clone());
            if into_server.write_all(&frame.bytes).await.is_err() {
                return;
            }
        }
    });
    wire
}

async fn forward(mut from_server: OwnedReadHalf, to_client: UnboundedSender<Frame>) {
    while let Ok(frame) = Frame::read(&mut from_server).await {
        if to_client.send(frame).is_err() {
            return;
        }
    }
}
