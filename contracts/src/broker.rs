//! The virtual host as an operator sets it up: the topology, and the policies that give its queues their limits.
//!
//! [`Definitions`] is the format of RabbitMQ's definition files, so one value serves both ways: the file
//! `infra/rabbitmq/definitions.json`, which a broker loads when it starts, and the set-up command, for a broker that
//! loads no file. A test compares the file with this code. Users and permissions are not here: they are secrets of a
//! deployment, and these are facts about the system.

use std::{fmt, time::Duration};

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::topology::{EXCHANGE, LIVE_PREFIX, PAUSES, QUEUES, Queue};

/// The virtual host, unless a deployment names another.
pub const VIRTUAL_HOST: &str = "tandem";

/// How often a delivery may end without an answer before the broker takes the message for a poison. Only crashes of
/// consumers count up to it: whatever a consumer can judge, it judges itself. A crash counts for each message that
/// was prefetched, so it has to be far from what a bad day of deployments makes.
const DELIVERY_LIMIT: u32 = 50;

/// The limit where none is wanted. Newer brokers drop what was returned twenty times unless they are told
/// otherwise, and looking at dead letters is to return them; "none" itself is spelt differently by each version.
const NO_DELIVERY_LIMIT: u32 = 1_000_000;

/// How many messages a queue takes. After that the broker refuses, and events wait in the outboxes.
const MAX_LENGTH: u32 = 5_000_000;

/// How many events a live queue keeps for a process that has stopped reading. What falls out would only have told it to
/// look again, and refusing instead would stop the services.
const MAX_LIVE_LENGTH: u32 = 100_000;

/// What a virtual host consists of.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Definitions {
    /// The virtual host itself, a list of one.
    pub vhosts: Vec<VirtualHost>,
    /// The exchange, a list of one.
    pub exchanges: Vec<Exchange>,
    /// All queues.
    pub queues: Vec<QueueDefinition>,
    /// Which events go to which queue.
    pub bindings: Vec<Binding>,
    /// What the broker does beside carrying messages.
    pub policies: Vec<Policy>,
}

/// A virtual host.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VirtualHost {
    /// Its name.
    pub name: String,
    /// What a queue is that is declared without a type.
    #[serde(flatten)]
    pub default_queue_type: DefaultQueueType,
    /// Where definition files say the same.
    pub metadata: DefaultQueueType,
}

/// Quorum queues, in both spellings: RabbitMQ 3.10 knows the second on its API, its successors know the first, and
/// each ignores what it does not know.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DefaultQueueType {
    default_queue_type: &'static str,
    #[serde(rename = "defaultqueuetype")]
    default_queue_type_of_3_10: &'static str,
}

const QUORUM: DefaultQueueType =
    DefaultQueueType { default_queue_type: "quorum", default_queue_type_of_3_10: "quorum" };

/// A durable exchange.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Exchange {
    /// Its name.
    pub name: &'static str,
    /// Where.
    pub vhost: String,
    /// What it does.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// It outlives a restart.
    pub durable: bool,
    /// It outlives its queues.
    pub auto_delete: bool,
    /// Clients publish to it.
    pub internal: bool,
    /// None.
    pub arguments: Map<String, Value>,
}

/// A durable queue.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QueueDefinition {
    /// Its name.
    pub name: String,
    /// Where.
    pub vhost: String,
    /// It outlives a restart.
    pub durable: bool,
    /// It outlives its consumers.
    pub auto_delete: bool,
    /// What the broker itself notes down for a plain declaration here. A file has to say it: the default type of the
    /// virtual host is for declarations by clients.
    pub arguments: Map<String, Value>,
}

/// A binding of a queue to the exchange.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Binding {
    /// The exchange.
    pub source: &'static str,
    /// Where.
    pub vhost: String,
    /// The queue.
    pub destination: &'static str,
    /// A queue.
    pub destination_type: &'static str,
    /// The event type.
    pub routing_key: &'static str,
    /// None.
    pub arguments: Map<String, Value>,
}

/// A policy. Each queue has exactly one: of several, the broker applies only the first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Policy {
    /// Where.
    pub vhost: String,
    /// Its name: that of its queue, `dead-letters` for theirs.
    pub name: String,
    /// A regular expression for names of queues.
    pub pattern: String,
    /// Queues.
    #[serde(rename = "apply-to")]
    pub apply_to: &'static str,
    /// Above none of an operator.
    pub priority: i32,
    /// What it says.
    pub definition: Map<String, Value>,
}

impl Definitions {
    /// Those of the virtual host `vhost`.
    pub fn of(vhost: &str) -> Self {
        let vhost = || vhost.to_owned();
        let policy = |name: String, pattern: String, definition: Value| Policy {
            vhost: vhost(),
            name,
            pattern,
            apply_to: "queues",
            priority: 0,
            definition: object(definition),
        };
        let mut policies = Vec::new();
        for queue in QUEUES {
            policies.push(policy(queue.name.to_owned(), exactly(queue.name), limits(queue)));
            for pause in &PAUSES {
                let name = queue.retry_name(pause);
                let pattern = exactly(&name);
                policies.push(policy(name, pattern, wait(queue, pause.length)));
            }
        }
        let names: Vec<_> = QUEUES.iter().map(|queue| escaped(queue.name)).collect();
        let dead_letters = format!("^({})\\.dlq$", names.join("|"));
        policies.push(policy(
            "dead-letters".to_owned(),
            dead_letters,
            json!({ "delivery-limit": NO_DELIVERY_LIMIT, "overflow": "reject-publish" }),
        ));
        policies.push(policy(
            "live".to_owned(),
            format!("^{}", escaped(LIVE_PREFIX)),
            json!({ "max-length": MAX_LIVE_LENGTH, "overflow": "drop-head" }),
        ));

        Self {
            vhosts: vec![VirtualHost { name: vhost(), default_queue_type: QUORUM, metadata: QUORUM }],
            exchanges: vec![Exchange {
                name: EXCHANGE,
                vhost: vhost(),
                kind: "topic",
                durable: true,
                auto_delete: false,
                internal: false,
                arguments: Map::new(),
            }],
            queues: QUEUES
                .iter()
                .flat_map(|queue| queue.names())
                .map(|name| QueueDefinition {
                    name,
                    vhost: vhost(),
                    durable: true,
                    auto_delete: false,
                    arguments: object(json!({ "x-queue-type": "quorum" })),
                })
                .collect(),
            bindings: QUEUES
                .iter()
                .flat_map(|queue| queue.events.iter().map(move |event_type| (queue.name, event_type.as_str())))
                .map(|(destination, routing_key)| Binding {
                    source: EXCHANGE,
                    vhost: vhost(),
                    destination,
                    destination_type: "queue",
                    routing_key,
                    arguments: Map::new(),
                })
                .collect(),
            policies,
        }
    }
}

/// As a definition file.
impl fmt::Display for Definitions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = serde_json::to_string_pretty(self).map_err(|_| fmt::Error)?;
        writeln!(f, "{json}")
    }
}

/// Of a queue that services consume. What crashes its consumers ends among the dead letters, and is there before it
/// is gone here (`at-least-once`, which wants `reject-publish`).
fn limits(queue: &Queue) -> Value {
    json!({
        "delivery-limit": DELIVERY_LIMIT,
        "dead-letter-exchange": "",
        "dead-letter-routing-key": queue.dead_letter_name(),
        "dead-letter-strategy": "at-least-once",
        "overflow": "reject-publish",
        "max-length": MAX_LENGTH,
    })
}

/// Of a queue that nobody consumes: after a while its messages go back to `queue`, or wait on where that is full.
fn wait(queue: &Queue, length: Duration) -> Value {
    json!({
        "message-ttl": u64::try_from(length.as_millis()).unwrap_or(u64::MAX),
        "dead-letter-exchange": "",
        "dead-letter-routing-key": queue.name,
        "dead-letter-strategy": "at-least-once",
        "overflow": "reject-publish",
    })
}

fn exactly(name: &str) -> String {
    format!("^{}$", escaped(name))
}

fn escaped(name: &str) -> String {
    name.replace('.', "\\.")
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_file_is_what_the_code_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/rabbitmq/definitions.json");
        let expected = Definitions::of(VIRTUAL_HOST).to_string();
        if std::env::var_os("UPDATE_DEFINITIONS").is_some() {
            std::fs::write(path, &expected).unwrap();
        }
        assert!(
            std::fs::read_to_string(path).unwrap() == expected,
            "infra/rabbitmq/definitions.json is not what the code says; see the difference after \
             UPDATE_DEFINITIONS=1 cargo test -p contracts definitions"
        );
    }

    #[test]
    fn every_queue_has_exactly_one_policy() {
        let definitions = Definitions::of("anywhere");
        for queue in &definitions.queues {
            let of_it: Vec<_> =
                definitions.policies.iter().filter(|policy| matches(&policy.pattern, &queue.name)).collect();
            assert_eq!(of_it.len(), 1, "{}: {of_it:?}", queue.name);
        }
    }

    /// The few regular expressions that are used above.
    fn matches(pattern: &str, name: &str) -> bool {
        let pattern = pattern.trim_start_matches('^').trim_end_matches('$').replace("\\.", ".");
        match pattern.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
            Some((names, end)) => names.split('|').any(|start| format!("{start}{end}") == name),
            None => pattern == name,
        }
    }

    #[test]
    fn what_waits_comes_back_and_dead_letters_stay() {
        let definitions = Definitions::of("anywhere");
        let said = |name: &str, key: &str| {
            definitions.policies.iter().find(|policy| policy.name == name).unwrap().definition.get(key).cloned()
        };
        assert_eq!(said("orders.retry.30s", "message-ttl"), Some(json!(30_000)));
        assert_eq!(said("orders.retry.30s", "dead-letter-routing-key"), Some(json!("orders")));
        assert_eq!(said("orders", "dead-letter-routing-key"), Some(json!("orders.dlq")));
        assert_eq!(said("dead-letters", "message-ttl"), None);
    }
}
