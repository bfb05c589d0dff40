//! The clock of the contract: UTC with milliseconds, the precision that REST, GraphQL, events and both databases keep.

use chrono::{DateTime, SubsecRound, Utc};

/// The present instant, cut to milliseconds, so that a value is the same before and after it was stored.
pub fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(3)
}
