//! The values that both services know: an amount and a customer id, checked once, where they enter.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};

/// Why a value was refused. The text names what is allowed and what was given, and is safe to show to a client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidValue(String);

/// A whole number of minor units, 1 to 2147483647: 1999 is 19.99.
///
/// The upper bound is that of GraphQL's `Int`, so that every amount that is stored can also be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Amount(i32);

impl Amount {
    /// The smallest and the largest amount.
    pub const RANGE: std::ops::RangeInclusive<i64> = 1..=i32::MAX as i64;

    /// Minor units.
    pub fn get(self) -> i32 {
        self.0
    }
}

impl TryFrom<i64> for Amount {
    type Error = InvalidValue;

    fn try_from(value: i64) -> Result<Self, InvalidValue> {
        i32::try_from(value)
            .ok()
            .filter(|v| *v >= 1)
            .map(Self)
            .ok_or_else(|| InvalidValue(format!("must be a whole number from 1 to 2147483647, not {value}")))
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Amount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number from 1 to 2147483647")
            }

            fn visit_i64<E: de::Error>(self, v: i64) -> Result<Amount, E> {
                Amount::try_from(v).map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, v: u64) -> Result<Amount, E> {
                match i64::try_from(v) {
                    Ok(v) => self.visit_i64(v),
                    Err(_) => Err(E::custom(format!("must be a whole number from 1 to 2147483647, not {v}"))),
                }
            }

            // JSON has one number type: `100.0` is the integer 100 (JSON Schema, section 6.1.1).
            fn visit_f64<E: de::Error>(self, v: f64) -> Result<Amount, E> {
                if v.fract() == 0.0 && v.abs() <= f64::from(i32::MAX) {
                    self.visit_i64(v as i64)
                } else {
                    Err(E::custom(format!("must be a whole number from 1 to 2147483647, not {v}")))
                }
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

/// Who an order belongs to: 1 to 255 printable characters, as the identity provider or the caller gave them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct CustomerId(String);

impl CustomerId {
    /// The most characters an id may have.
    pub const MAX_CHARS: usize = 255;

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for CustomerId {
    type Error = InvalidValue;

    fn try_from(value: String) -> Result<Self, InvalidValue> {
        let chars = value.chars().count();
        if value.trim().is_empty() {
            Err(InvalidValue("must have 1 to 255 printable characters, but it is empty".into()))
        } else if chars > Self::MAX_CHARS {
            Err(InvalidValue(format!("must have 1 to 255 printable characters, but it has {chars}")))
        } else if value.chars().any(char::is_control) {
            Err(InvalidValue("must have 1 to 255 printable characters, but it contains a control character".into()))
        } else {
            Ok(Self(value))
        }
    }
}

impl std::str::FromStr for CustomerId {
    type Err = InvalidValue;

    fn from_str(value: &str) -> Result<Self, InvalidValue> {
        Self::try_from(value.to_owned())
    }
}

impl fmt::Display for CustomerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for CustomerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_a_whole_number_in_range() {
        let amount = |json: &str| serde_json::from_str::<Amount>(json).map(Amount::get).map_err(|e| e.to_string());
        assert_eq!(amount("1"), Ok(1));
        assert_eq!(amount("2147483647"), Ok(i32::MAX));
        assert_eq!(amount("100.0"), Ok(100));
        for bad in ["0", "-5", "2147483648", "18446744073709551615", "1e40", "0.5", "\"100\"", "null", "true", "[]"] {
            let error = amount(bad).expect_err(bad);
            assert!(error.contains("1 to 2147483647"), "{bad}: {error}");
        }
    }

    #[test]
    fn a_customer_id_has_printable_characters() {
        let customer = |text: &str| CustomerId::try_from(text.to_owned()).map(|c| c.0);
        assert_eq!(customer("customer-123").as_deref(), Ok("customer-123"));
        assert_eq!(customer("客 42").as_deref(), Ok("客 42"));
        assert!(customer(&"x".repeat(255)).is_ok());
        for bad in ["", "  ", "a\u{0}b", "a\nb", "\u{7f}", &"x".repeat(256)] {
            assert!(customer(bad).is_err(), "{bad:?}");
        }
    }
}
