//! `contracts/topology.json`: the topology as data, so that `asyncapi.yaml` can be compared with it by a program.

use contracts::{
    EventType,
    topology::{EXCHANGE, QUEUES, queues_of},
};
use serde_json::{Value, json};

#[test]
fn the_exported_topology_is_that_of_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/topology.json");
    let exported = format!("{:#}\n", topology());
    if std::env::var_os("UPDATE_SCHEMAS").is_some() {
        std::fs::write(path, &exported).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == exported,
        "contracts/topology.json is not the topology of the code; see the difference after \
         UPDATE_SCHEMAS=1 cargo test -p contracts topology"
    );
}

fn topology() -> Value {
    let events = EventType::ALL.map(|event_type| {
        let queues: Vec<_> = queues_of(event_type).map(|queue| queue.name).collect();
        json!({ "type": event_type.as_str(), "queues": queues })
    });
    let queues = QUEUES.map(|queue| {
        let events: Vec<_> = queue.events.iter().map(|event_type| event_type.as_str()).collect();
        json!({ "name": queue.name, "deadLetterQueue": queue.dead_letter_name(), "events": events })
    });
    json!({ "exchange": EXCHANGE, "events": events, "queues": queues })
}
