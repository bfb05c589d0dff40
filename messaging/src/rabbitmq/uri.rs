//! The broker's address: read once, at start, so that a typo is an error then and not an outage later.

use lapin::uri::AMQPUri;

/// Seconds between heartbeats, unless the URL says otherwise. A peer that is silent for twice as long is gone; the
/// broker's own default would leave a half-open connection unnoticed for two minutes.
const HEARTBEAT_SECONDS: u16 = 10;

/// Why a broker URL was refused. The text never contains the URL, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the broker URL must look like amqp://user:password@host:port/vhost: {0}")]
pub struct InvalidUrl(String);

/// Reads `url` and fills in what we want differently from the client library.
pub(super) fn parse(url: &str) -> Result<AMQPUri, InvalidUrl> {
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
    Ok(uri)
}

/// The address without the credentials, for the log.
pub(super) fn address(uri: &AMQPUri) -> String {
    let vhost = if uri.vhost == "/" { "" } else { uri.vhost.as_str() };
    format!("{}:{}/{vhost}", uri.authority.host, uri.authority.port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_is_added_unless_given() {
        assert_eq!(parse("amqp://localhost").unwrap().query.heartbeat, Some(10));
        assert_eq!(parse("amqp://localhost/%2f?heartbeat=4").unwrap().query.heartbeat, Some(4));
    }

    #[test]
    fn the_virtual_host_is_never_empty() {
        for (url, vhost) in
            [("amqp://h", "/"), ("amqp://h/", "/"), ("amqp://h/%2f", "/"), ("amqp://u:p@h:5673/tandem", "tandem")]
        {
            assert_eq!(parse(url).unwrap().vhost, vhost, "{url}");
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
        let uri = parse("amqp://u:s3cret@host:5673/tandem").unwrap();
        assert_eq!(address(&uri), "host:5673/tandem");
    }
}
