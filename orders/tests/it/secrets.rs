//! The program with secrets in its URLs: none of them is in what it says, wherever it fails.

use std::process::Stdio;

use testkit::PATIENCE;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    process::Command,
    time::timeout,
};

const CANARY: &str = "canary-password";

fn orders(database_url: &str, broker_url: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orders"));
    command.env_clear().kill_on_drop(true).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env("DATABASE_URL", database_url).env("BROKER_URL", broker_url).env("PORT", "0").env("METRICS_PORT", "0");
    command.env("RUST_LOG", "trace");
    command.env("JWT_SECRET", format!("{CANARY}-of-the-issuer-and-of-us")).env("JWT_ISSUER", "issuer");
    command
}

/// A server that greets everybody with what no database and no broker says.
async fn strange_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.write_all(b"no such protocol\r\n").await;
        }
    });
    port
}

#[tokio::test]
async fn no_password_is_in_what_a_start_says_that_is_refused() {
    let (database, broker) =
        (format!("postgres://u:{CANARY}@127.0.0.1:1/o"), format!("amqp://u:{CANARY}@127.0.0.1:1/v"));
    for (database, broker) in [
        (format!("mysql://u:{CANARY}@h/o"), broker.clone()),
        (format!("u:{CANARY}@h/o"), broker.clone()),
        (format!("postgres://u:{CANARY}@h:port/o"), broker.clone()),
        (database.clone(), format!("http://u:{CANARY}@h/v")),
        (database.clone(), format!("u:{CANARY}@h/v")),
        (database.clone(), format!("amqp://u:{CANARY}@h:port/v")),
    ] {
        let output = timeout(PATIENCE, orders(&database, &broker).output()).await.unwrap().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!output.status.success() && !said.is_empty(), "{database} {broker}: {said}");
        assert!(!said.contains(CANARY), "{said}");
    }
}

/// Both are away, or something else is where they should be: the process goes on trying, and says so again and again.
#[tokio::test]
async fn no_password_is_in_the_log_of_a_process_that_cannot_connect() {
    let strange = strange_server().await;
    for port in [1, strange] {
        let database = format!("postgres://u:{CANARY}@127.0.0.1:{port}/o");
        let broker = format!("amqp://u:{CANARY}@127.0.0.1:{port}/v");
        let mut child = orders(&database, &broker).spawn().unwrap();
        let mut log = child.stderr.take().unwrap();
        let (mut said, mut part) = (Vec::new(), vec![0; 65_536]);
        // Until it has said that the broker, and the database, cannot be had.
        let both = |said: &[u8]| {
            let said = String::from_utf8_lossy(said);
            ["messaging::", "orders::housekeeping"]
                .iter()
                .all(|who| said.lines().any(|line| line.contains("WARN") && line.contains(who)))
        };
        timeout(PATIENCE, async {
            while !both(&said) {
                match log.read(&mut part).await.unwrap() {
                    0 => return,
                    length => said.extend_from_slice(&part[..length]),
                }
            }
        })
        .await
        .unwrap_or_else(|_| panic!("it did not fail in both: {}", String::from_utf8_lossy(&said)));
        child.kill().await.unwrap();
        let said = String::from_utf8_lossy(&said);
        assert!(!said.contains(CANARY), "{}", said.lines().find(|line| line.contains(CANARY)).unwrap_or_default());
    }
}
