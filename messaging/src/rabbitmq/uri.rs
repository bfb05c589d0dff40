//! The broker's address: read once, at start, so that a typo is an error then and not an outage later.
//!
//! With `amqps://` the broker has to prove who it is, to the name in the URL, by a certificate that the system trusts.
//! `?cacertfile=/path/ca.pem`, the word of RabbitMQ's own URLs, adds the authorities of a file to those.

use std::{fmt, fs, path::Path};

use lapin::{
    tcp::OwnedTLSConfig,
    uri::{AMQPScheme, AMQPUri},
};

/// Seconds between heartbeats, unless the URL says otherwise. A peer that is silent for twice as long is gone; the
/// broker's own default would leave a half-open connection unnoticed for two minutes.
const HEARTBEAT_SECONDS: u16 = 10;

/// The largest frame in bytes, unless the URL says otherwise. The client library keeps buffers of 32 frames for each
/// direction of each connection, and under load all of their pages are touched: 4 MiB each with the broker's default of
/// 128 KiB. Our messages fit into a frame; larger ones come in several. (RabbitMQ 4 wants 8 KiB at least.)
const FRAME_MAX: u32 = 16 * 1024;

/// Why a broker URL was refused. The text never contains the URL, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the broker URL must look like amqp://user:password@host:port/vhost: {0}")]
pub struct InvalidUrl(String);

/// Where the broker is, and whom to believe that it is the broker.
#[derive(Debug, Clone)]
pub(super) struct Broker {
    /// Host, virtual host, credentials.
    pub(super) uri: AMQPUri,
    /// Certificates in PEM form that are trusted beside those of the system.
    authorities: Option<String>,
}

impl Broker {
    /// What the client library wants to know for TLS.
    pub(super) fn tls(&self) -> OwnedTLSConfig {
        OwnedTLSConfig { identity: None, cert_chain: self.authorities.clone() }
    }

    /// The address without the credentials, for the log.
    pub(super) fn address(&self) -> String {
        let vhost = if self.uri.vhost == "/" { "" } else { self.uri.vhost.as_str() };
        format!("{}:{}/{vhost}", self.uri.authority.host, self.uri.authority.port)
    }
}

/// Reads `url`, and the file it names, and fills in what we want differently from the client library.
pub(super) fn parse(url: &str) -> Result<Broker, InvalidUrl> {
    // The library would take an IPv6 address for no host at all, and connect to localhost.
    if url.contains("@[") || url.contains("://[") {
        return Err(InvalidUrl("an IPv6 address is not supported, use a host name".to_owned()));
    }
    let mut uri: AMQPUri = url.parse().map_err(|reason: String| {
        // Some of its reasons repeat the whole URL.
        InvalidUrl(if reason.contains(url) { "it is not a URL".to_owned() } else { reason })
    })?;
    // A trailing slash means the virtual host "" by the letter, which nobody has; other clients read it as "/".
    if uri.vhost.is_empty() {
        uri.vhost = "/".to_owned();
    }
    uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
    uri.query.frame_max.get_or_insert(FRAME_MAX);
    let authorities = match parameter(url, "cacertfile") {
        Some(_) if uri.scheme == AMQPScheme::AMQP => {
            return Err(InvalidUrl("cacertfile is for amqps://, an amqp:// connection has no TLS".to_owned()));
        }
        Some(path) => Some(authorities(Path::new(&path))?),
        None => None,
    };
    Ok(Broker { uri, authorities })
}

/// A parameter that the client library passes over.
fn parameter(url: &str, name: &str) -> Option<String> {
    let (_, query) = url.split_once('?')?;
    let query = query.split('#').next()?;
    let parameters: Vec<(String, String)> = serde_urlencoded::from_str(query).ok()?;
    parameters.into_iter().find_map(|(key, value)| (key == name).then_some(value))
}

fn authorities(path: &Path) -> Result<String, InvalidUrl> {
    let refuse = |reason: &dyn fmt::Display| InvalidUrl(format!("cacertfile {}: {reason}", path.display()));
    let pem = fs::read_to_string(path).map_err(|error| refuse(&error))?;
    if pem.contains("-----BEGIN CERTIFICATE-----") { Ok(pem) } else { Err(refuse(&"no certificate in PEM form")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_and_a_frame_size_are_added_unless_given() {
        let query = |url| parse(url).unwrap().uri.query;
        let (ours, given) = (query("amqp://localhost"), query("amqp://localhost/%2f?heartbeat=4&frame_max=131072"));
        assert_eq!((ours.heartbeat, ours.frame_max), (Some(10), Some(16_384)));
        assert_eq!((given.heartbeat, given.frame_max), (Some(4), Some(131_072)));
    }

    #[test]
    fn the_virtual_host_is_never_empty() {
        for (url, vhost) in
            [("amqp://h", "/"), ("amqp://h/", "/"), ("amqp://h/%2f", "/"), ("amqp://u:p@h:5673/tandem", "tandem")]
        {
            assert_eq!(parse(url).unwrap().uri.vhost, vhost, "{url}");
        }
    }

    #[test]
    fn a_wrong_url_is_refused_without_its_password() {
        for url in [
            "",
            "localhost:5672",
            "http://u:s3cret@host",
            "amqp:u:s3cret@host",
            "amqp://u:s3cret@[::1]:5672/",
            "amqp://u:s3cret@host:port/",
        ] {
            let error = parse(url).expect_err(url).to_string();
            assert!(error.contains("amqp://user:password@host") && !error.contains("s3cret"), "{url}: {error}");
        }
    }

    #[test]
    fn an_address_has_no_credentials() {
        let broker = parse("amqp://u:s3cret@host:5673/tandem").unwrap();
        assert_eq!(broker.address(), "host:5673/tandem");
    }

    #[test]
    fn a_file_of_authorities_has_to_be_there_and_of_use() {
        let nothing = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        for (url, expected) in [
            (
                "amqps://u:s3cret@h/v?cacertfile=/no%20such/ca.pem".to_owned(),
                "cacertfile /no such/ca.pem: No such file",
            ),
            (format!("amqps://u:s3cret@h/v?heartbeat=4&cacertfile={nothing}"), "no certificate in PEM form"),
            ("amqp://u:s3cret@h/v?cacertfile=/ca.pem".to_owned(), "cacertfile is for amqps://"),
        ] {
            let error = parse(&url).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("s3cret"), "{error}");
        }
        assert_eq!(parse("amqps://h?heartbeat=4").unwrap().tls(), OwnedTLSConfig::default());
    }
}
