//! `healthcheck`: a program asks the service that runs beside it, in the same container, how it is.
//!
//! Images of ours have no shell and no curl. What an orchestrator starts every few seconds has to be small and must
//! always end: one blocking connection to the port of the service, without a runtime, over within [`LIMIT`].

use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};

use crate::listen::{Listen, ListenError};

/// How long everything may take: less than the three seconds after which orchestrators give up by themselves, so that
/// there is always an answer that says why.
const LIMIT: Duration = Duration::from_secs(2);

/// `HTTP/1.1 200` is all that is read.
const STATUS_BYTES: usize = 12;

/// The arguments.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct Healthcheck {
    /// Ask whether it is ready (/readyz), and not only whether it answers (/livez). For what waits for a start; not for
    /// what restarts a container, which would not bring a database back.
    #[arg(long)]
    pub ready: bool,
}

impl Healthcheck {
    /// Asks the service that was started with the same settings. Blocks for at most two seconds.
    ///
    /// # Errors
    /// When it cannot be reached, answers too late, or answers with anything but 200: a text for an operator.
    pub fn run(self, listen: &Listen) -> anyhow::Result<()> {
        self.run_within(LIMIT, listen)
    }

    fn run_within(self, limit: Duration, listen: &Listen) -> anyhow::Result<()> {
        let address = address(listen)?;
        let path = if self.ready { "/readyz" } else { "/livez" };
        let deadline = Instant::now() + limit;
        let status = status(address, path, deadline).with_context(|| format!("http://{address}{path}"))?;
        ensure!(status == "200", "http://{address}{path} answers {status}");
        Ok(())
    }
}

/// Where a service with these settings is found from inside its container: on the loopback, wherever it listens on it.
fn address(listen: &Listen) -> anyhow::Result<SocketAddr> {
    let ip = match listen.host.as_str() {
        "localhost" => Ipv4Addr::LOCALHOST.into(),
        host => match host.parse().map_err(|_| ListenError::BadHost(host.to_owned()))? {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        },
    };
    ensure!(listen.port != 0, "PORT is 0, any free port: name the port that the service took");
    Ok(SocketAddr::new(ip, listen.port))
}

/// The status of the answer to `GET path`. Each step gets what the ones before have left of the time.
fn status(address: SocketAddr, path: &str, deadline: Instant) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, left(deadline)?).context("cannot connect")?;
    stream.set_write_timeout(Some(left(deadline)?))?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).context("cannot ask")?;

    let mut head = [0; STATUS_BYTES];
    let mut filled = 0;
    while filled < STATUS_BYTES {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(&mut head[filled..]) {
            Ok(0) => bail!("no answer: the connection was closed"),
            Ok(read) => filled += read,
            // The next turn looks at the clock.
            Err(error)
                if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error).context("no answer"),
        }
    }
    let head = String::from_utf8_lossy(&head);
    let status = head.strip_prefix("HTTP/1.1 ").or_else(|| head.strip_prefix("HTTP/1.0 "));
    Ok(status.with_context(|| format!("no HTTP, but {head:?}"))?.to_owned())
}

/// What is left of the time: never zero, which would mean to wait for ever.
fn left(deadline: Instant) -> anyhow::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    ensure!(!left.is_zero(), "no answer in time");
    Ok(left)
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    const LIVE: Healthcheck = Healthcheck { ready: false };
    const SOON: Duration = Duration::from_millis(1);
    const READY: Healthcheck = Healthcheck { ready: true };

    /// A service of one answer, given in these pieces. Before each it looks for so long whether the client has gone.
    /// Returns what it was asked.
    fn service(pieces: &'static [&'static str], pause: Duration) -> (Listen, thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = Listen::on("0.0.0.0", listener.local_addr().unwrap().port());
        let asked = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 256];
            let length = stream.read(&mut request).unwrap();
            stream.set_read_timeout(Some(pause)).unwrap();
            for piece in pieces {
                let gone = matches!(stream.read(&mut [0]), Ok(0));
                if gone || stream.write_all(piece.as_bytes()).is_err() {
                    break;
                }
            }
            String::from_utf8_lossy(&request[..length]).lines().next().unwrap_or_default().to_owned()
        });
        (listen, asked)
    }

    fn refusal(check: Healthcheck, listen: &Listen) -> String {
        format!("{:#}", check.run(listen).unwrap_err())
    }

    #[test]
    fn live_and_ready_are_different_questions() {
        for (check, request) in [(LIVE, "GET /livez HTTP/1.1"), (READY, "GET /readyz HTTP/1.1")] {
            let (listen, asked) = service(&["HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"], SOON);
            check.run(&listen).unwrap();
            assert_eq!(asked.join().unwrap(), request);
        }
    }

    #[test]
    fn an_answer_in_pieces_is_an_answer() {
        let (listen, asked) = service(&["HTTP/1", ".1 2", "00 OK\r\n\r\n"], SOON);
        LIVE.run(&listen).unwrap();
        asked.join().unwrap();
    }

    #[test]
    fn everything_but_200_is_unhealthy_and_says_where() {
        let (listen, _) = service(&["HTTP/1.1 503 Service Unavailable\r\n\r\n"], SOON);
        let url = format!("http://127.0.0.1:{}/readyz", listen.port);
        assert_eq!(refusal(READY, &listen), format!("{url} answers 503"));

        let (listen, _) = service(&["SSH-2.0-OpenSSH_9.2\r\n"], SOON);
        assert!(refusal(LIVE, &listen).ends_with("/livez: no HTTP, but \"SSH-2.0-Open\""));

        let (listen, _) = service(&["HTTP/1.1"], SOON);
        assert!(refusal(LIVE, &listen).ends_with("no answer: the connection was closed"));
    }

    #[test]
    fn a_port_that_nobody_has_is_unhealthy() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = Listen::on("localhost", listener.local_addr().unwrap().port());
        drop(listener);
        assert!(refusal(LIVE, &listen).contains("cannot connect"));
    }

    /// One that accepts and is silent, and one that sends a byte whenever the patience of a single read is about to end.
    #[test]
    fn it_ends_in_time_whatever_the_service_does() {
        const LIMIT: Duration = Duration::from_millis(200);
        let dripping = &["H", "T", "T", "P", "/", "1", ".", "1", " ", "2", "0"];
        for (pieces, pause) in [(&["HTTP/1.1 200"][..], Duration::from_secs(2)), (dripping, Duration::from_millis(150))]
        {
            let (listen, _) = service(pieces, pause);
            let began = Instant::now();
            let error = LIVE.run_within(LIMIT, &listen).unwrap_err();
            assert!(format!("{error:#}").ends_with("no answer in time"), "{error:#}");
            assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        }
    }

    #[test]
    fn it_looks_where_the_service_listens() {
        let check = |host: &str, expected: &str| {
            assert_eq!(address(&Listen::on(host, 3333)).unwrap().to_string(), expected);
        };
        check("localhost", "127.0.0.1:3333");
        check("0.0.0.0", "127.0.0.1:3333");
        check("::", "[::1]:3333");
        check("10.0.0.7", "10.0.0.7:3333");
        assert!(refusal(LIVE, &Listen::on("example.org", 3333)).contains("HOST must be"));
        assert!(refusal(LIVE, &Listen::on("localhost", 0)).contains("PORT is 0"));
    }
}
