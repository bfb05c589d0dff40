//! The W3C trace context as it travels with an event: two header values, kept unread in the outbox row.

use serde::{Deserialize, Serialize};

/// `traceparent` and `tracestate` of the work that caused an event (W3C Trace Context, section 3).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceContext {
    /// `00-<trace id>-<parent id>-<flags>`; absent when the event was created outside any trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// Vendor data, passed on as it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracestate: Option<String>,
}

impl TraceContext {
    /// The 32 hexadecimal digits of the trace id; `None` where there is no valid `traceparent`.
    pub fn trace_id(&self) -> Option<&str> {
        let mut parts = self.traceparent.as_deref()?.split('-');
        let (_version, trace_id) = (parts.next()?, parts.next()?);
        let valid = trace_id.len() == 32
            && trace_id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
            && trace_id.bytes().any(|b| b != b'0');
        valid.then_some(trace_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace_id(traceparent: &str) -> Option<String> {
        let context = TraceContext { traceparent: Some(traceparent.into()), tracestate: None };
        context.trace_id().map(str::to_owned)
    }

    #[test]
    fn a_trace_id_is_read_only_from_a_valid_traceparent() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(trace_id(&format!("00-{id}-00f067aa0ba902b7-01")).as_deref(), Some(id));
        assert_eq!(trace_id("00-00000000000000000000000000000000-00f067aa0ba902b7-01"), None);
        assert_eq!(trace_id("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"), None);
        assert_eq!(trace_id("garbage"), None);
        assert_eq!(TraceContext::default().trace_id(), None);
    }
}
