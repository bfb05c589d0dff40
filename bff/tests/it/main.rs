//! The API as a client meets it: real HTTP in front and behind. The services are small stand-ins that record what
//! they are asked and fail on demand; the real ones are met in the journeys of `standalone`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests are tests too")]

mod calls;
mod cors;
mod deadlines;
mod documents;
mod failures;
mod guard;
mod http;
mod life;
mod live;
mod merging;
mod mutations;
mod pages;
mod resilience;
mod schema;
mod secrets;
mod service;
mod sharing;
mod websockets;
mod world;

use testkit::socket;
