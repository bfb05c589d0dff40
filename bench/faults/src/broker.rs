//! The broker as an outsider uses it: plain AMQP past the services' own code, and the management API.
//!
//! This tool must not share the code that it tests, so it has its own few lines of both.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, ensure};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};
use reqwest::{Method, Url};
use serde_json::Value;
use tokio::time::{Instant, sleep};

/// How long a broker that was killed may take to serve again.
const PATIENCE: Duration = Duration::from_secs(90);

/// A message to publish straight to a queue.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) queue: String,
    pub(crate) properties: BasicProperties,
    pub(crate) body: Vec<u8>,
}

/// A connection with one channel, which must be kept beside it.
pub(crate) async fn connect(url: &str) -> anyhow::Result<(Connection, Channel)> {
    let connecting = Connection::connect(url, ConnectionProperties::default().with_connection_name("faults".into()));
    let connection = tokio::time::timeout(Duration::from_secs(10), connecting).await.context("no handshake")??;
    let channel = connection.create_channel().await?;
    Ok((connection, channel))
}

/// Publishes with confirms, from the beginning again when the connection breaks: some may then arrive twice, none
/// is missing.
pub(crate) async fn publish(url: &str, messages: &[Message]) -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        match try_publish(url, messages).await {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > until => return Err(error),
            Err(_) => sleep(Duration::from_millis(500)).await,
        }
    }
}

async fn try_publish(url: &str, messages: &[Message]) -> anyhow::Result<()> {
    let (connection, channel) = connect(url).await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    publish_on(&channel, messages).await?;
    connection.close(200, "done".into()).await?;
    Ok(())
}

/// Publishes on a channel that has confirms on, and awaits them.
pub(crate) async fn publish_on(channel: &Channel, messages: &[Message]) -> anyhow::Result<()> {
    let mut confirms = Vec::with_capacity(messages.len());
    for message in messages {
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let queue = message.queue.as_str().into();
        confirms
            .push(channel.basic_publish("".into(), queue, options, &message.body, message.properties.clone()).await?);
    }
    for confirm in confirms {
        ensure!(matches!(confirm.await?, Confirmation::Ack(None)), "the broker did not take a message");
    }
    Ok(())
}

/// The management API of the virtual host `tandem`.
#[derive(Debug, Clone)]
pub(crate) struct Management {
    http: reqwest::Client,
    url: Url,
}

impl Management {
    /// The API at `http://user:password@host:port`.
    pub(crate) fn new(url: &str) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
        Ok(Self { http, url: url.parse()? })
    }

    /// How many messages each queue has, ready or given out. The broker's figures are up to five seconds old.
    pub(crate) async fn queues(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        let list = self.call(Method::GET, &["api", "queues", "tandem"]).await?;
        let queue = |queue: &Value| Some((queue["name"].as_str()?.to_owned(), queue["messages"].as_u64()?));
        Ok(list.as_array().into_iter().flatten().filter_map(queue).collect())
    }

    /// Has the broker close the connections of all services; answers how many.
    pub(crate) async fn close_connections(&self) -> anyhow::Result<usize> {
        let list = self.call(Method::GET, &["api", "connections"]).await?;
        let mut closed = 0;
        for connection in list.as_array().into_iter().flatten() {
            let ours = connection["user_provided_name"] == "faults"
                || connection["client_properties"]["connection_name"] == "faults";
            if let (false, Some(name)) = (ours, connection["name"].as_str()) {
                // One that is gone by itself needs no closing.
                closed += usize::from(self.call(Method::DELETE, &["api", "connections", name]).await.is_ok());
            }
        }
        Ok(closed)
    }

    /// Puts a policy over those of the system.
    pub(crate) async fn put_policy(&self, name: &str, policy: Value) -> anyhow::Result<()> {
        self.send(Method::PUT, &["api", "policies", "tandem", name], Some(policy)).await.map(drop)
    }

    /// Takes it away again.
    pub(crate) async fn delete_policy(&self, name: &str) -> anyhow::Result<()> {
        self.call(Method::DELETE, &["api", "policies", "tandem", name]).await.map(drop)
    }

    async fn call(&self, method: Method, path: &[&str]) -> anyhow::Result<Value> {
        self.send(method, path, None).await
    }

    async fn send(&self, method: Method, path: &[&str], body: Option<Value>) -> anyhow::Result<Value> {
        let mut url = self.url.clone();
        url.path_segments_mut().ok().context("no base")?.extend(path);
        let mut request = self.http.request(method, url);
        if let Some(body) = &body {
            request = request.json(body);
        }
        let response = request.send().await?.error_for_status()?;
        let text = response.text().await?;
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }
}
