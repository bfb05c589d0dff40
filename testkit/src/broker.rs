//! A virtual host of its own for each test, on the broker that `TEST_BROKER_URL` names.
//!
//! Tests on one broker would otherwise share the queues, whose names are fixed. The host is made and deleted through
//! the management API: `TEST_BROKER_ADMIN_URL`, or port 15672 of the same machine with the same credentials.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use contracts::{broker::Definitions, topology::Queue};
use messaging::rabbitmq::setup;
use reqwest::{Client, Method, Response, Url};
use serde_json::{Value, json};
use uuid::Uuid;

/// How much shorter the pauses between attempts are than in production.
const HASTE: u64 = 1000;

/// A virtual host, deleted when it is dropped.
#[derive(Debug)]
pub struct TestBroker {
    admin: Url,
    vhost: String,
    url: String,
    users: Mutex<Vec<String>>,
}

impl TestBroker {
    /// Makes one; `None` when no broker is set up. A broker that is set up and does not answer fails the test.
    pub async fn start() -> Option<Self> {
        let Ok(broker) = std::env::var("TEST_BROKER_URL") else {
            eprintln!("skipped: TEST_BROKER_URL is not set");
            return None;
        };
        let mut url: Url = broker.parse().expect("TEST_BROKER_URL is a URL");
        let vhost = format!("test-{}", Uuid::now_v7());
        url.set_path(&vhost);
        let users = Mutex::default();
        let broker = Self { admin: admin_url(&url), vhost, url: url.into(), users };

        let vhost = broker.path("api/vhosts", &[]);
        // Both spellings: RabbitMQ 3.10 knows the second only, and ignores what it does not know.
        broker
            .call(Method::PUT, vhost, Some(json!({ "default_queue_type": "quorum", "defaultqueuetype": "quorum" })))
            .await;
        let user = broker.admin.username().to_owned();
        let permissions = broker.path("api/permissions", &[&user]);
        let all = json!({ "configure": ".*", "write": ".*", "read": ".*" });
        broker.call(Method::PUT, permissions, Some(all)).await;
        broker.set_policies().await;
        Some(broker)
    }

    /// Puts the policies of a real set-up in force, with pauses that are [`HASTE`] times shorter. The queues are left
    /// to those who connect.
    async fn set_policies(&self) {
        let mut definitions = Definitions::of(&self.vhost);
        for policy in &mut definitions.policies {
            if let Some(length) = policy.definition.get_mut("message-ttl") {
                *length = json!(length.as_u64().expect("milliseconds") / HASTE);
            }
        }
        let (vhosts, exchanges, queues, bindings) = Default::default();
        let policies = Definitions { vhosts, exchanges, queues, bindings, ..definitions };
        setup::apply(self.admin.as_str(), &policies, |_| {}).await.expect("policies can be set");
    }

    /// The AMQP URL of the virtual host.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The `x-error` header of the first dead letter of a queue, which stays where it is.
    pub async fn first_dead_letter(&self, queue: &Queue) -> Option<String> {
        let get = self.path("api/queues", &[&queue.dead_letter_name(), "get"]);
        let options = json!({ "count": 1, "ackmode": "ack_requeue_true", "encoding": "auto" });
        let letters: Value = self.call(Method::POST, get, Some(options)).await.json().await.expect("a list");
        letters[0]["properties"]["headers"]["x-error"].as_str().map(str::to_owned)
    }

    /// Its name.
    pub fn vhost(&self) -> &str {
        &self.vhost
    }

    /// The URL of the management API.
    pub fn admin_url(&self) -> &str {
        self.admin.as_str()
    }

    /// Declares a durable queue with arguments, as somebody may have done who knew nothing of us.
    pub async fn declare_queue(&self, name: &str, arguments: Value) {
        let queue = self.path("api/queues", &[name]);
        self.call(Method::PUT, queue, Some(json!({ "durable": true, "arguments": arguments }))).await;
    }

    /// Writes a message straight into a queue, as a plain client does.
    pub async fn publish(&self, queue: &str, body: &Value, headers: &[(&str, &str)]) {
        let exchange = self.path("api/exchanges", &["amq.default", "publish"]);
        let headers: serde_json::Map<String, Value> =
            headers.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let message = json!({
            "properties": { "delivery_mode": 2, "headers": headers },
            "routing_key": queue,
            "payload": body.to_string(),
            "payload_encoding": "string",
        });
        let answer: Value = self.call(Method::POST, exchange, Some(message)).await.json().await.unwrap();
        assert_eq!(answer["routed"], true, "{answer}");
    }

    /// `host:port`, as it is written in the URL.
    pub fn address(&self) -> &str {
        let authority = self.url.split('/').nth(2).unwrap_or_default();
        authority.rsplit('@').next().unwrap_or_default()
    }

    /// Makes users of their own for `orders`, `invoices` and `bff`, with the permissions of `infra/rabbitmq/permissions.json`
    /// and no others. Answers the URLs that they connect with, in this order. Where they may declare nothing, the
    /// topology has to be there before them.
    pub async fn users(&self) -> [String; 3] {
        const SERVICES: [&str; 3] = ["orders", "invoices", "bff"];
        const PASSWORD: &str = "s3cret";
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/rabbitmq/permissions.json");
        let mut definitions: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        for permission in
            definitions.as_object_mut().unwrap().values_mut().flat_map(|list| list.as_array_mut().unwrap())
        {
            permission["user"] = self.user(permission["user"].as_str().unwrap()).into();
            permission["vhost"] = self.vhost.as_str().into();
        }
        for service in SERVICES {
            let url = self.admin_path(&["api", "users", &self.user(service)]);
            self.call(Method::PUT, url, Some(json!({ "password": PASSWORD, "tags": "" }))).await;
            self.users.lock().unwrap().push(self.user(service));
        }
        self.call(Method::POST, self.admin_path(&["api", "definitions"]), Some(definitions)).await;
        SERVICES.map(|service| {
            let mut url: Url = self.url.parse().unwrap();
            url.set_username(&self.user(service)).unwrap();
            url.set_password(Some(PASSWORD)).unwrap();
            url.into()
        })
    }

    /// The name of a service's user: users belong to the broker, not to a virtual host.
    fn user(&self, service: &str) -> String {
        format!("{service}-of-{}", self.vhost)
    }

    /// The names of the client connections to the virtual host. The list runs a little behind.
    pub async fn connections(&self) -> BTreeSet<String> {
        let list = self.path("api/vhosts", &["connections"]);
        let list: Value = self.call(Method::GET, list, None).await.json().await.expect("a list");
        let name = |connection: &Value| connection["name"].as_str().map(str::to_owned);
        list.as_array().into_iter().flatten().filter_map(name).collect()
    }

    /// Has the broker close `count` client connections, as soon as there are so many. Answers their names.
    pub async fn close_connections(&self, count: usize) -> BTreeSet<String> {
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut closed = BTreeSet::new();
        while closed.len() < count {
            assert!(Instant::now() < deadline, "{} of {count} connections closed within 30 s", closed.len());
            for name in self.connections().await.difference(&closed.clone()) {
                self.call(Method::DELETE, self.admin_path(&["api", "connections", name]), None).await;
                closed.insert(name.clone());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        closed
    }

    /// `prefix/<vhost>/…` on the management API.
    fn path(&self, prefix: &str, rest: &[&str]) -> Url {
        let mut url = self.admin.clone();
        url.path_segments_mut().expect("a base").extend(prefix.split('/')).push(&self.vhost).extend(rest);
        url
    }

    /// A path on the management API.
    fn admin_path(&self, segments: &[&str]) -> Url {
        let mut url = self.admin.clone();
        url.path_segments_mut().expect("a base").extend(segments);
        url
    }

    async fn call(&self, method: Method, url: Url, body: Option<Value>) -> Response {
        let mut request = Client::new().request(method.clone(), url.clone()).timeout(Duration::from_secs(30));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap_or_else(|error| panic!("the management API: {error}"));
        let status = response.status();
        // Gone is as good as deleted.
        let fine = status.is_success() || (method == Method::DELETE && status == 404);
        assert!(fine, "{method} {}: {status}", url.path());
        response
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        let users = std::mem::take(self.users.get_mut().unwrap_or_else(PoisonError::into_inner));
        let users = users.iter().map(|user| self.admin_path(&["api", "users", user]));
        let urls: Vec<_> = users.chain([self.path("api/vhosts", &[])]).collect();
        // On a thread and a runtime of its own: the runtime of the test may be ending, and cannot be waited for here.
        let deleted = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            // In an async block, since the request's timer wants the runtime as soon as it is made.
            runtime.block_on(async {
                for url in urls {
                    let answer = Client::new().delete(url).timeout(Duration::from_secs(30)).send().await;
                    answer.and_then(Response::error_for_status).map_err(std::io::Error::other)?;
                }
                Ok::<_, std::io::Error>(())
            })
        });
        match deleted.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => eprintln!("the virtual host {} was not deleted: {error:?}", self.vhost),
            Err(_) => eprintln!("the virtual host {} was not deleted", self.vhost),
        }
    }
}

fn admin_url(broker: &Url) -> Url {
    if let Ok(admin) = std::env::var("TEST_BROKER_ADMIN_URL") {
        return admin.parse().expect("TEST_BROKER_ADMIN_URL is a URL");
    }
    let host = broker.host_str().unwrap_or("localhost");
    let mut admin: Url = format!("http://{host}:15672").parse().expect("a URL");
    let (user, password) = match broker.username() {
        "" => ("guest", "guest"),
        user => (user, broker.password().unwrap_or_default()),
    };
    admin.set_username(user).expect("a base");
    admin.set_password(Some(password)).expect("a base");
    admin
}
