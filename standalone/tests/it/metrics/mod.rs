//! What the metrics say is what has happened.

mod cardinality;
mod catalogue;
mod listener;
mod numbers;
mod outage;
