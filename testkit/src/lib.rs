//! What the tests stand on: databases, brokers, clients, captured spans.
