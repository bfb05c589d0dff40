//! Why the system cannot start, told to whoever started it: what is in the way and where, and what to do about it.

use std::fmt;

/// One or several things in the way, a line each, and one line with what to do.
///
/// ```text
/// cannot listen on 127.0.0.1:8000: another program is using the port (kong, pid 4312)
///        cannot listen on 127.0.0.1:3333: another program is using the port (node, pid 991)
/// Stop them, or choose other ports:  cargo run -- --port 8100 --orders-port 3433
/// ```
///
/// Printed after `error: `, so that the lines stand below each other.
#[derive(Debug)]
pub(crate) struct Obstacle {
    pub(crate) what: Vec<String>,
    pub(crate) remedy: String,
}

impl Obstacle {
    pub(crate) fn new(what: impl fmt::Display, remedy: impl fmt::Display) -> Self {
        Self { what: vec![what.to_string()], remedy: remedy.to_string() }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.what.join("\n       "), self.remedy)
    }
}

impl std::error::Error for Obstacle {}
