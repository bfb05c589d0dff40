//! A program of ours with secrets in its settings: none of them is in what it says, wherever it fails.

use std::process::Stdio;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    process::Command,
    time::timeout,
};

use crate::PATIENCE;

/// The password in every URL, and the beginning of every other secret.
pub const CANARY: &str = "canary-password";

/// The program with nothing in its environment but these settings, on a free port, saying all that it can say.
pub fn program(path: &str, settings: &[(&str, String)]) -> Command {
    let mut command = Command::new(path);
    command.env_clear().kill_on_drop(true).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
        .env("PORT", "0")
        .env("METRICS_PORT", "0")
        .env("RUST_LOG", "trace")
        .envs(settings.iter().map(|(name, value)| (name, value)));
    command
}

/// A start that is refused: it says why, and no secret.
pub async fn assert_refused(mut command: Command) {
    let output = timeout(PATIENCE, command.output()).await.unwrap().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!output.status.success() && !said.is_empty(), "{command:?}: {said}");
    assert!(!said.contains(CANARY), "{said}");
}

/// What a process logs until each of these is in it; no secret is.
pub async fn log_until(mut command: Command, expected: &[&str]) -> String {
    let mut child = command.spawn().unwrap();
    let mut log = child.stderr.take().unwrap();
    let (mut said, mut part) = (String::new(), vec![0; 65_536]);
    let heard = timeout(PATIENCE, async {
        while !expected.iter().all(|text| said.contains(text)) {
            match log.read(&mut part).await.unwrap() {
                0 => return,
                length => said += &String::from_utf8_lossy(&part[..length]),
            }
        }
    });
    let in_time = heard.await.is_ok();
    child.kill().await.unwrap();
    assert!(in_time && expected.iter().all(|text| said.contains(text)), "{expected:?} was not said: {said}");
    let leak = said.lines().find(|line| line.contains(CANARY));
    assert!(leak.is_none(), "{leak:?}");
    said
}

/// The port of a server that greets everybody with what no database, no broker and no service says.
pub async fn strange_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.write_all(b"no such protocol\r\n").await;
        }
    });
    port
}

/// A service with a database and a broker, and canaries in all its settings: what it has to keep to itself.
#[derive(Debug, Clone, Copy)]
pub struct Service {
    /// The path of its program.
    pub program: &'static str,
    /// What its log has while neither can be reached.
    pub says: &'static [&'static str],
}

impl Service {
    /// A start with a URL that cannot be one is refused without its password.
    pub async fn is_refused(self) {
        let (database, broker) = urls(1);
        for (database, broker) in [
            (format!("mysql://u:{CANARY}@h/o"), broker.clone()),
            (format!("u:{CANARY}@h/o"), broker.clone()),
            (format!("postgres://u:{CANARY}@h:port/o"), broker.clone()),
            (database.clone(), format!("http://u:{CANARY}@h/v")),
            (database.clone(), format!("u:{CANARY}@h/v")),
            (database.clone(), format!("amqp://u:{CANARY}@h:port/v")),
        ] {
            assert_refused(program(self.program, &settings(database, broker))).await;
        }
    }

    /// Both are away, or something else is where they should be: the process goes on trying, and says so.
    pub async fn cannot_connect(self) {
        for port in [1, strange_server().await] {
            let (database, broker) = urls(port);
            let log = log_until(program(self.program, &settings(database, broker)), self.says).await;
            assert!(!log.contains("OPEN MODE"), "it asks for tokens");
        }
    }

    /// Without a key everybody is let in, which nobody can overlook.
    pub async fn is_open(self) {
        let (database, broker) = urls(1);
        let without_key = &settings(database, broker)[..2];
        log_until(program(self.program, without_key), &["OPEN MODE: no token is asked for"]).await;
    }
}

fn settings(database: String, broker: String) -> [(&'static str, String); 4] {
    let secret = format!("{CANARY}-of-the-issuer-and-of-us");
    [("DATABASE_URL", database), ("BROKER_URL", broker), ("JWT_SECRET", secret), ("JWT_ISSUER", "issuer".into())]
}

fn urls(port: u16) -> (String, String) {
    (format!("postgres://u:{CANARY}@127.0.0.1:{port}/o"), format!("amqp://u:{CANARY}@127.0.0.1:{port}/v"))
}
