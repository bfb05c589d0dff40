//! One connection that sends ready-made requests and reads whole answers. It does as little as possible, because it
//! shares the machine with what it measures.

use anyhow::Context;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A connection.
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A POST of this JSON, as bytes.
pub(crate) fn request(body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    format!("POST /graphql HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}").into()
}

impl Client {
    /// Connects to `address`.
    pub(crate) async fn open(address: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(64 * 1024) })
    }

    /// The status and the body of a path.
    pub(crate) async fn get(&mut self, path: &str) -> anyhow::Result<(u16, String)> {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n").as_bytes()).await
    }

    /// Sends a whole request; the status and the body of its answer.
    pub(crate) async fn send(&mut self, request: &[u8]) -> anyhow::Result<(u16, String)> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            anyhow::ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "the connection ended");
            let Some(head) = self.buffer.windows(4).position(|part| part == b"\r\n\r\n") else { continue };
            let text = std::str::from_utf8(&self.buffer[..head])?;
            let length = text
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
            let length: usize = length.with_context(|| format!("an answer without a length: {text}"))?;
            if self.buffer.len() >= head + 4 + length {
                let status = text.get(9..12).and_then(|status| status.parse().ok()).context("no status")?;
                return Ok((status, String::from_utf8(self.buffer[head + 4..].to_vec())?));
            }
        }
    }
}
