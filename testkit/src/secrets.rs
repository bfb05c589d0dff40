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
