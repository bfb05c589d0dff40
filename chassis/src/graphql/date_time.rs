//! The scalar `DateTime`: RFC 3339 in UTC with milliseconds, the format of REST, GraphQL and the events alike.

use async_graphql::{InputValueError, InputValueResult, Scalar, ScalarType, Value};
use chrono::{SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

/// An instant in UTC, RFC 3339 with milliseconds, e.g. `2026-11-03T10:30:00.000Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(transparent)]
pub struct DateTime(pub chrono::DateTime<Utc>);

impl DateTime {
    /// The text form.
    pub fn to_text(self) -> String {
        self.0.to_rfc3339_opts(SecondsFormat::Millis, true)
    }
}

impl Serialize for DateTime {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_text())
    }
}

impl From<chrono::DateTime<Utc>> for DateTime {
    fn from(instant: chrono::DateTime<Utc>) -> Self {
        Self(instant)
    }
}

/// An instant in UTC, RFC 3339 with milliseconds, e.g. `2026-11-03T10:30:00.000Z`.
#[Scalar(name = "DateTime", specified_by_url = "https://scalars.graphql.org/andimarek/date-time.html")]
impl ScalarType for DateTime {
    fn parse(value: Value) -> InputValueResult<Self> {
        let Value::String(text) = &value else { return Err(InputValueError::expected_type(value)) };
        chrono::DateTime::parse_from_rfc3339(text).map(|instant| Self(instant.with_timezone(&Utc))).map_err(|_| {
            InputValueError::custom(format!("{text:?} is not an instant like 2026-11-03T10:30:00.000Z (RFC 3339)"))
        })
    }

    fn to_value(&self) -> Value {
        Value::String(self.to_text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_has_three_decimals_and_ends_in_z() {
        let parsed = DateTime::parse(Value::from("2026-11-03T11:30:00+01:00")).ok().map(DateTime::to_text);
        assert_eq!(parsed.as_deref(), Some("2026-11-03T10:30:00.000Z"));
        assert!(DateTime::parse(Value::from("yesterday")).is_err());
        assert!(DateTime::parse(Value::from(12)).is_err());
    }
}
