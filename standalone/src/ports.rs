//! All sockets of the system, bound before anything else: a start that cannot succeed leaves nothing behind, and says
//! at once everything that is in the way.

use std::io;

use chassis::listen::{ListenError, Listener};

use crate::{config::Config, obstacle::Obstacle, port_owner};

/// The bound sockets.
pub(crate) struct Ports {
    pub(crate) gateway: Listener,
    pub(crate) orders: Listener,
    pub(crate) invoices: Listener,
    pub(crate) bff: Listener,
    pub(crate) metrics: Listener,
}

/// A port that could not be had, and the option that chooses another.
struct Refused {
    option: &'static str,
    port: u16,
    error: ListenError,
}

impl Ports {
    /// Binds all of them.
    ///
    /// # Errors
    /// One [`Obstacle`] that names every port that is taken, and by whom.
    pub(crate) fn bind(config: &Config) -> Result<Self, Obstacle> {
        let mut refused = Vec::new();
        let mut bind = |option, port| match Listener::bind(&config.host, port) {
            Ok(listener) => Some(listener),
            Err(error) => {
                refused.push(Refused { option, port, error });
                None
            }
        };
        let bound = (
            bind("--port", config.port),
            bind("--orders-port", config.orders_port),
            bind("--invoices-port", config.invoices_port),
            bind("--bff-port", config.bff_port),
            bind("--metrics-port", config.metrics_port),
        );
        match bound {
            (Some(gateway), Some(orders), Some(invoices), Some(bff), Some(metrics)) => {
                Ok(Self { gateway, orders, invoices, bff, metrics })
            }
            _ => Err(explain(&refused)),
        }
    }
}

fn explain(refused: &[Refused]) -> Obstacle {
    let mut what: Vec<String> = refused.iter().map(|refused| describe(&refused.error)).collect();
    // A host that cannot be is said once, not for each port.
    what.dedup();
    let remedy = match refused.first().map(|refused| &refused.error) {
        Some(ListenError::BadHost(_)) => "Choose one:  cargo run -- --host localhost".to_owned(),
        Some(ListenError::Refused { source, .. }) if source.kind() == io::ErrorKind::AddrNotAvailable => {
            "Choose an address of this machine:  cargo run -- --host localhost".to_owned()
        }
        _ => {
            let others: Vec<String> =
                refused.iter().map(|refused| format!("{} {}", refused.option, another(refused.port))).collect();
            let (stop, ports) = if others.len() == 1 { ("it", "another port") } else { ("them", "other ports") };
            format!("Stop {stop}, or choose {ports}:  cargo run -- {}", others.join(" "))
        }
    };
    Obstacle { what, remedy }
}

fn describe(error: &ListenError) -> String {
    let ListenError::InUse { address } = error else { return error.to_string() };
    match port_owner::find(*address) {
        Some(owner) => format!("{error} ({}, pid {})", owner.name, owner.pid),
        None => error.to_string(),
    }
}

/// A port to propose instead; 0, any free one, where there is none above.
fn another(port: u16) -> u16 {
    port.checked_add(100).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn in_use(option: &'static str, port: u16) -> Refused {
        // A port that nobody has: whose it is, is tested where there is somebody.
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Refused { option, port, error: ListenError::InUse { address } }
    }

    #[test]
    fn what_is_proposed_has_the_options_of_what_is_in_the_way() {
        let obstacle = explain(&[in_use("--port", 1), in_use("--bff-port", 65_535)]).to_string();
        let expected = "cannot listen on 127.0.0.1:1: another program is using the port
       cannot listen on 127.0.0.1:65535: another program is using the port
Stop them, or choose other ports:  cargo run -- --port 101 --bff-port 0";
        assert_eq!(obstacle, expected);
        let obstacle = explain(&[in_use("--port", 1)]).to_string();
        assert!(obstacle.ends_with("Stop it, or choose another port:  cargo run -- --port 101"), "{obstacle}");
    }

    #[test]
    fn a_host_that_cannot_be_is_said_once() {
        let bad = |option| Refused { option, port: 0, error: ListenError::BadHost("example.org".into()) };
        let obstacle = explain(&[bad("--port"), bad("--bff-port")]).to_string();
        assert_eq!(obstacle.matches("example.org").count(), 1, "{obstacle}");
        assert!(obstacle.ends_with("--host localhost"), "{obstacle}");
    }
}
