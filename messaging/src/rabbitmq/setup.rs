//! Sets a virtual host up over the management API: for a broker that loaded no definitions file.
//!
//! Every step is an assertion, so running it again changes nothing. Queues are declared plainly, as services do it; a
//! queue that is there with other properties is kept and reported, for only an operator can know whether its messages
//! may be given up. Policies are set to what we say, because they are ours.

use std::{fmt, time::Duration};

use contracts::broker::Definitions;
use reqwest::{Client, Method, StatusCode, Url};
use serde_json::{Value, json};

/// For one question and answer.
const CALL: Duration = Duration::from_secs(30);

/// Something that is there now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// What, e.g. `queue orders`.
    pub what: String,
    /// What was done about it.
    pub how: How,
}

/// What was done about something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// It was not there.
    Created,
    /// It was there.
    Kept,
    /// It was there in another form, and still is.
    Differs(String),
}

impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.how {
            How::Created => write!(f, "created  {}", self.what),
            How::Kept => write!(f, "kept     {}", self.what),
            How::Differs(why) => write!(f, "DIFFERS  {}: {why}", self.what),
        }
    }
}

/// Why a virtual host could not be set up. No text has the URL, which may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The URL is none.
    #[error("the management URL must look like http://user:password@host:15672")]
    Url,
    /// No answer.
    #[error("the management API at {address} does not answer: {cause}")]
    Unreachable {
        /// Host and port.
        address: String,
        /// What happened.
        cause: String,
    },
    /// The user is not known, or may not.
    #[error("the management API refused {what} ({status}): the user needs the tag administrator")]
    Forbidden {
        /// What was asked.
        what: String,
        /// The answer.
        status: u16,
    },
    /// Another refusal.
    #[error("the management API refused {what} ({status}): {reason}")]
    Refused {
        /// What was asked.
        what: String,
        /// The answer.
        status: u16,
        /// The broker's words.
        reason: String,
    },
}

/// Brings the virtual host of `definitions` into being, and tells `report` of each step.
///
/// # Errors
/// At the first step that the broker refuses; those before it stay.
pub async fn apply(
    admin_url: &str,
    definitions: &Definitions,
    mut report: impl FnMut(Applied),
) -> Result<(), SetupError> {
    let admin = Admin::new(admin_url)?;
    for vhost in &definitions.vhosts {
        let what = format!("virtual host {}", vhost.name);
        let how = admin.put(&what, &["vhosts", &vhost.name], &json!(vhost.default_queue_type)).await?;
        let found = admin.call(&what, Method::GET, &["vhosts", &vhost.name], None).await?.1;
        let quorum = found["default_queue_type"] == "quorum" || found["metadata"]["default_queue_type"] == "quorum";
        let plain = "a plainly declared queue is no quorum queue here: delete the virtual host and set it up again";
        report(Applied { what, how: if quorum { how } else { How::Differs(plain.to_owned()) } });
    }
    // Before the queues: a policy that is there is in force from a queue's first message on.
    for policy in &definitions.policies {
        let what = format!("policy {}", policy.name);
        let body = json!({
            "pattern": policy.pattern,
            "apply-to": policy.apply_to,
            "priority": policy.priority,
            "definition": policy.definition,
        });
        let how = admin.put(&what, &["policies", &policy.vhost, &policy.name], &body).await?;
        report(Applied { what, how });
    }
    for exchange in &definitions.exchanges {
        let what = format!("exchange {}", exchange.name);
        let body = json!({ "type": exchange.kind, "durable": exchange.durable });
        let how = admin.put(&what, &["exchanges", &exchange.vhost, exchange.name], &body).await?;
        report(Applied { what, how });
    }
    for queue in &definitions.queues {
        let what = format!("queue {}", queue.name);
        let how =
            admin.put(&what, &["queues", &queue.vhost, &queue.name], &json!({ "durable": queue.durable })).await?;
        report(Applied { what, how });
    }
    for binding in &definitions.bindings {
        let what = format!("binding {} -> {}", binding.routing_key, binding.destination);
        let (vhost, exchange, queue) = (&*binding.vhost, binding.source, binding.destination);
        let path = ["bindings", vhost, "e", exchange, "q", queue];
        let there = admin.call(&what, Method::GET, &path, None).await?.1;
        let is_there = |bindings: &Vec<Value>| bindings.iter().any(|other| other["routing_key"] == binding.routing_key);
        let how = match there.as_array().is_some_and(is_there) {
            true => How::Kept,
            false => {
                let body = json!({ "routing_key": binding.routing_key });
                admin.call(&what, Method::POST, &path, Some(&body)).await?;
                How::Created
            }
        };
        report(Applied { what, how });
    }
    Ok(())
}

/// The management API.
struct Admin {
    client: Client,
    base: Url,
}

impl Admin {
    fn new(url: &str) -> Result<Self, SetupError> {
        let base: Url = url.parse().map_err(|_| SetupError::Url)?;
        if !matches!(base.scheme(), "http" | "https") || !base.has_host() {
            return Err(SetupError::Url);
        }
        // A broker is inside: no proxy stands before it.
        let client = Client::builder().no_proxy().timeout(CALL).build().map_err(|_| SetupError::Url)?;
        Ok(Self { client, base })
    }

    /// Asserts one thing.
    async fn put(&self, what: &str, path: &[&str], body: &Value) -> Result<How, SetupError> {
        match self.call(what, Method::PUT, path, Some(body)).await {
            Ok((StatusCode::CREATED, _)) => Ok(How::Created),
            Ok(_) => Ok(How::Kept),
            Err(SetupError::Refused { reason, .. }) if reason.contains("inequivalent arg") => Ok(How::Differs(reason)),
            Err(error) => Err(error),
        }
    }

    async fn call(
        &self,
        what: &str,
        method: Method,
        path: &[&str],
        body: Option<&Value>,
    ) -> Result<(StatusCode, Value), SetupError> {
        let mut url = self.base.clone();
        url.path_segments_mut().map_err(|()| SetupError::Url)?.pop_if_empty().push("api").extend(path);
        let mut request = self.client.request(method, url);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| self.unreachable(error))?;
        let status = response.status();
        let answer = response.text().await.map_err(|error| self.unreachable(error))?;
        let json: Value = serde_json::from_str(&answer).unwrap_or_default();
        if status.is_success() {
            return Ok((status, json));
        }
        let (what, code) = (what.to_owned(), status.as_u16());
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(SetupError::Forbidden { what, status: code });
        }
        let reason = json["reason"].as_str().map_or(answer, str::to_owned);
        Err(SetupError::Refused { what, status: code, reason })
    }

    fn unreachable(&self, error: reqwest::Error) -> SetupError {
        let cause = error.without_url();
        let host = self.base.host_str().unwrap_or_default();
        let address = format!("{host}:{}", self.base.port_or_known_default().unwrap_or_default());
        let mut text = cause.to_string();
        let mut source = std::error::Error::source(&cause);
        while let Some(inner) = source {
            text = format!("{text}: {inner}");
            source = inner.source();
        }
        SetupError::Unreachable { address, cause: text }
    }
}

#[cfg(test)]
mod tests {
    use contracts::broker::VIRTUAL_HOST;

    use super::*;

    async fn error_of(url: &str) -> String {
        let definitions = Definitions::of(VIRTUAL_HOST);
        apply(url, &definitions, |_| panic!("nothing is applied")).await.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn a_wrong_or_silent_address_is_named_without_its_password() {
        for url in ["", "amqp://u:s3cret@host", "localhost:15672"] {
            assert!(error_of(url).await.contains("http://user:password@host:15672"), "{url}");
        }
        // Nobody listens on the discard port.
        let error = error_of("http://u:s3cret@127.0.0.1:9").await;
        assert!(error.contains("127.0.0.1:9 does not answer") && !error.contains("s3cret"), "{error}");
    }
}
