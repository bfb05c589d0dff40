//! How state and event commit together: the outbox table and its relay.
