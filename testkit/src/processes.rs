//! The three services as processes of their own, as they run in production, on PostgreSQL and RabbitMQ.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::PATIENCE;

/// A running service.
pub struct Process {
    child: Child,
    /// Its base URL.
    pub url: String,
    log: Arc<Mutex<Vec<String>>>,
}

/// The program `name`, which is beside `neighbour`, a program of the same build.
///
/// Cargo builds the programs of the packages that are tested. `cargo test --workspace` tests all of them; with a part of
/// the packages, build the others before.
pub fn program(neighbour: &str, name: &str) -> PathBuf {
    let program = Path::new(neighbour).with_file_name(name);
    assert!(program.exists(), "{} is not there: cargo build --workspace", program.display());
    program
}

/// Starts `program` on any port, with this environment and no other, and waits until it listens. It logs JSON.
pub async fn start(program: &Path, environment: &[(&str, &str)]) -> Process {
    let mut command = Command::new(program);
    command.env_clear().kill_on_drop(true).stderr(std::process::Stdio::piped());
    command.envs([("HOST", "127.0.0.1"), ("PORT", "0"), ("METRICS_PORT", "0"), ("LOG_FORMAT", "json")]);
    command.envs(environment.iter().copied());
    let mut child = command.spawn().unwrap();
    let log = Arc::new(Mutex::new(Vec::new()));
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let name = program.file_name().unwrap().to_string_lossy().into_owned();
    let mut url = None;
    timeout(PATIENCE, async {
        while url.is_none() {
            let line = lines.next_line().await.unwrap();
            let line = line.unwrap_or_else(|| panic!("{name} ended before it listened: {:?}", log.lock().unwrap()));
            let event: Value = serde_json::from_str(&line).unwrap_or_default();
            let message = event["message"].as_str().unwrap_or_default();
            url = message.strip_prefix(&format!("{name} listens on ")).map(str::to_owned);
            log.lock().unwrap().push(line);
        }
    })
    .await
    .unwrap();
    let kept = Arc::clone(&log);
    // A pipe that nobody empties would stop the process.
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            kept.lock().unwrap().push(line);
        }
    });
    Process { child, url: url.unwrap(), log }
}

impl Process {
    /// The lines that it has logged so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Ends it at once, as a crash does.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Asks it to stop, waits until it has, and answers what it has logged.
    pub async fn stop(mut self) -> Vec<String> {
        let pid = self.child.id().unwrap().to_string();
        let sent = Command::new("sh").args(["-c", "kill -TERM \"$0\"", &pid]).status().await.unwrap();
        let status = timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap();
        assert!(sent.success() && status.success(), "{status}: {:?}", self.log());
        // The last lines are in the pipe, and their reader is a task of this runtime.
        tokio::time::sleep(Duration::ZERO).await;
        self.log()
    }
}
