//! `tandem token`: tokens for trying out the protected system on one's own machine.

use std::time::Duration;

use anyhow::Result;
use chassis::identity::{Identity, IdentityConfig, development_token};
use contracts::CustomerId;
use reqwest::header::{self, HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

/// The subject of an operator who is not named.
const OPERATOR: &str = "operator";

/// The longest a development token may last.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// Whose token, and for how long.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("who").required(true))]
pub struct Token {
    /// For this customer: sees and changes their own orders and invoices.
    #[arg(long, value_name = "ID", group = "who")]
    customer: Option<CustomerId>,

    /// For an operator: sees and changes everybody's.
    #[arg(long, group = "who")]
    operator: bool,

    /// For how long: 30s, 15m, 1h or 7d; 30d at most.
    #[arg(long, default_value = "1h", value_name = "TIME", value_parser = lifetime)]
    expires: Duration,

    /// What it is signed with.
    #[command(flatten)]
    identity: IdentityConfig,
}

impl Token {
    /// Makes it.
    ///
    /// # Errors
    /// In production, or without `JWT_SECRET`; says which.
    pub fn make(&self) -> Result<String> {
        let identity = match &self.customer {
            Some(customer) => Identity::Customer(customer.clone()),
            None => Identity::Operator(OPERATOR.to_owned()),
        };
        // It is printed, which is what it is made for.
        Ok(development_token(&self.identity, &identity, self.expires)?.expose_secret().to_owned())
    }
}

/// A token for the samples and the demo, where one can be made: their orders belong to several customers.
pub fn for_ourselves(config: &IdentityConfig) -> Option<SecretString> {
    development_token(config, &Identity::Operator("tandem".to_owned()), LONGEST).ok()
}

/// Sends `token` with each request, where one is asked for.
pub(crate) fn client(token: Option<&SecretString>, patience: Duration) -> Result<reqwest::Client> {
    let mut headers = HeaderMap::new();
    if let Some(token) = token {
        let mut credentials = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()))?;
        credentials.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, credentials);
    }
    Ok(reqwest::Client::builder().no_proxy().timeout(patience).default_headers(headers).build()?)
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let units = [('s', 1), ('m', 60), ('h', 3600), ('d', 24 * 3600)];
    let found = units.iter().find_map(|(unit, seconds)| {
        let number: u64 = text.strip_suffix(*unit)?.parse().ok()?;
        Some(Duration::from_secs(number.checked_mul(*seconds)?))
    });
    found
        .filter(|lifetime| (Duration::from_secs(1)..=LONGEST).contains(lifetime))
        .ok_or_else(|| "must be a whole number and a unit, like 30s, 15m, 1h or 7d; 30d at most".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_a_number_and_a_unit() {
        for (text, seconds) in [("1s", 1), ("15m", 900), ("1h", 3600), ("30d", 2_592_000)] {
            assert_eq!(lifetime(text), Ok(Duration::from_secs(seconds)));
        }
        for bad in ["", "h", "0s", "1", "1.5h", "-1h", "31d", "1w", "99999999999999999999d", "18446744073709551615d"] {
            assert!(lifetime(bad).unwrap_err().contains("30d at most"), "{bad}");
        }
    }
}
