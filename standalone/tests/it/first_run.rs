//! What a first start shows, and what it says when it cannot be: the real binary, on a pipe and on a terminal.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, path::Path, process::Stdio};

use reqwest::Client;
use sea_orm::{ConnectionTrait, Database};
use serde_json::{Value, json};
use testkit::{PATIENCE, eventually};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
    time::timeout,
};

use crate::process::{ANY_PORTS, Running, orders, tandem};

const TRACE: &str = "8b246fb1a673bd15ec08cd33a0ef07f6";

async fn post(url: String, body: Value) -> Value {
    let traceparent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let request = Client::new().post(url).header("traceparent", traceparent).json(&body);
    request.send().await.unwrap().error_for_status().unwrap().json().await.unwrap()
}

/// Places an order and waits until its invoice is there; the ids of both.
async fn invoiced_order(url: &str) -> (String, String) {
    let order = post(format!("{url}/orders"), json!({ "amount": 1999, "customerId": "ada" })).await;
    let order = order["id"].as_str().unwrap().to_owned();
    let invoice = eventually("the order has its invoice", || async {
        let page: Value =
            Client::new().get(format!("{url}/invoices?orderId={order}")).send().await.unwrap().json().await.unwrap();
        page["items"][0]["id"].as_str().map(str::to_owned)
    })
    .await;
    (order, invoice)
}

/// The next lines, up to the one that has `last` in it.
async fn lines_until(running: &mut Running, last: &str) -> Vec<String> {
    let mut lines = Vec::new();
    timeout(PATIENCE, async {
        while lines.last().is_none_or(|line: &String| !line.contains(last)) {
            lines.push(running.lines.next_line().await.unwrap().unwrap());
        }
    })
    .await
    .unwrap_or_else(|_| panic!("{last} was not told: {lines:?}"));
    lines
}

#[tokio::test]
async fn each_step_of_an_order_is_a_line_with_its_trace() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = Running::start(tandem(folder.path(), &ANY_PORTS)).await;
    let url = running.url();
    let (order, invoice) = invoiced_order(&url).await;
    let mut lines = lines_until(&mut running, "invoice issued").await;
    post(format!("{url}/invoices/{invoice}/pay"), Value::Null).await;
    lines.extend(lines_until(&mut running, "order paid").await);
    post(format!("{url}/orders/{order}/cancel"), Value::Null).await;
    lines.extend(lines_until(&mut running, "invoice refunded").await);

    // Nothing of the samples, which were made before.
    let expected =
        ["order created", "invoice issued", "invoice paid", "order paid", "order canceled", "invoice refunded"];
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, what) in lines.iter().zip(expected) {
        let columns: Vec<&str> = line.split("  ").map(str::trim).filter(|column| !column.is_empty()).collect();
        let [time, id, step, detail, trace] = columns[..] else { panic!("{line}") };
        let digits: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(digits, "00:00:00", "{line}");
        assert_eq!(id, format!("…{}", &order[order.len() - 8..]), "{line}");
        assert_eq!(step, what, "{line}");
        match what {
            "order created" => assert_eq!(detail, "1999 ada", "{line}"),
            _ => assert!(detail.starts_with('+') && (detail.ends_with(" ms") || detail.ends_with(" s")), "{line}"),
        }
        assert_eq!(trace, format!("trace {TRACE}"), "{line}");
        assert!(!line.contains('\x1b') && line.chars().count() <= 101, "{line:?}");
    }
    assert!(running.stop("-INT").await.success());
}

#[tokio::test]
async fn quiet_is_the_banner_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [&ANY_PORTS[..], &["--no-seed", "--quiet"]].concat();
    let mut running = Running::start(tandem(folder.path(), &arguments)).await;
    invoiced_order(&running.url()).await;
    crate::process::send(&running.child, "-TERM").await;
    assert_eq!(timeout(PATIENCE, running.lines.next_line()).await.unwrap().unwrap(), None);
}

/// In a pseudo-terminal, as `script` makes one. By `exec`, so that the end of the program is its own and no shell's.
fn on_a_terminal(folder: &Path) -> Command {
    let command = format!("exec {} {} --no-seed", env!("CARGO_BIN_EXE_tandem"), ANY_PORTS.join(" "));
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &command, "/dev/null"]).current_dir(folder).kill_on_drop(true);
    script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    script.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("TERM", "xterm");
    script
}

#[tokio::test]
async fn a_terminal_has_colours_unless_it_wants_none() {
    for (variable, value, coloured) in
        [("NO_COLOR", "", true), ("NO_COLOR", "1", false), ("TERM", "dumb", false), ("TERM", "vt100", true)]
    {
        let folder = tempfile::tempdir().unwrap();
        let mut command = on_a_terminal(folder.path());
        command.env(variable, value);
        let mut running = Running::start(command).await;
        assert!(!running.banner.contains('\x1b'), "{:?}", running.banner);
        invoiced_order(&running.url()).await;
        let lines = lines_until(&mut running, "invoice issued").await;
        for line in &lines {
            assert_eq!(line.contains("\x1b["), coloured, "{variable}={value}: {line:?}");
            assert!(!coloured || line.ends_with("\x1b[0m"), "{line:?}");
        }
        // Ctrl+C at the terminal.
        running.child.stdin.take().unwrap().write_all(b"\x03").await.unwrap();
        let ended = timeout(PATIENCE, running.child.wait()).await.unwrap().unwrap();
        assert!(ended.success(), "{ended}");
    }
}

/// The files of a folder with their contents, those of its folders too.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(contents(&path)),
            false => drop(all.insert(path.display().to_string(), fs::read(&path).unwrap())),
        }
    }
    all
}

/// Starts what cannot start, and answers what it says.
async fn refusal(mut command: Command) -> String {
    let output = timeout(PATIENCE, command.output()).await.unwrap().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(output.stdout.is_empty() && !error.contains("panicked"), "{error}");
    error
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_to_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().canonicalize().unwrap().join("locked");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o555)).unwrap();
    for (path, what) in [(data.clone(), "write to"), (data.join("new"), "create")] {
        let path = path.to_str().unwrap();
        let arguments = [&ANY_PORTS[..], &["--data", path]].concat();
        let mut command = tandem(folder.path(), &arguments);
        // Root may write everywhere, unless it gives that up.
        if fs::metadata("/proc/self").is_ok_and(|us| std::os::unix::fs::MetadataExt::uid(&us) == 0) {
            let mut root = Command::new("setpriv");
            root.args(["--bounding-set", "-dac_override", env!("CARGO_BIN_EXE_tandem")]).args(arguments);
            root.current_dir(folder.path()).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
            command = root;
        }
        let expected = format!(
            "error: cannot {what} the data folder {path}: Permission denied (os error 13)
Choose another:  cargo run -- --data DIR
"
        );
        assert_eq!(refusal(command).await, expected);
    }
    assert_eq!(fs::read_dir(&data).unwrap().count(), 0);
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(tandem(folder.path(), &ANY_PORTS)).await;
    assert!(running.stop("-TERM").await.success());
    let data = folder.path().canonicalize().unwrap().join("data");
    // The second of both: the first must not have been migrated by then.
    let file = data.join("invoices.db");
    let db = Database::connect(format!("sqlite://{}", file.display())).await.unwrap();
    db.execute_unprepared("INSERT INTO seaql_migrations VALUES ('m29990101_000001_future', 1)").await.unwrap();
    db.execute_unprepared("PRAGMA wal_checkpoint(TRUNCATE)").await.unwrap();
    db.close().await.unwrap();
    let before = contents(&data);

    let error = refusal(tandem(folder.path(), &ANY_PORTS)).await;
    let expected = format!(
        "error: the database {} was made by a newer version: this one, {}, does not know its m29990101_000001_future
Start the newer one.
Choose another folder:  cargo run -- --data DIR
Or delete the data and begin again:  cargo run -- --reset
",
        file.display(),
        env!("CARGO_PKG_VERSION"),
    );
    assert_eq!(error, expected);
    assert!(contents(&data) == before, "{:?}", contents(&data).keys());

    let arguments = [&ANY_PORTS[..], &["--reset"]].concat();
    let running = Running::start(tandem(folder.path(), &arguments)).await;
    assert_eq!(orders(&running.url()).await, 6);
    assert!(running.stop("-TERM").await.success());
}

#[tokio::test]
async fn a_file_that_is_no_database_is_named_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().canonicalize().unwrap().join("data");
    fs::create_dir(&data).unwrap();
    let file = data.join("orders.db");
    fs::write(&file, "these are notes about orders, and no database at all\n".repeat(100)).unwrap();
    let before = fs::read(&file).unwrap();
    let error = refusal(tandem(folder.path(), &ANY_PORTS)).await;
    assert!(error.starts_with(&format!("error: cannot open the database {}: ", file.display())), "{error}");
    assert!(error.ends_with("\nOr delete the data and begin again:  cargo run -- --reset\n"), "{error}");
    assert_eq!(fs::read(&file).unwrap(), before);
    assert!(!data.join("invoices.db").exists());
}

#[tokio::test]
async fn open_opens_the_console_once_it_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let programs = folder.path().join("programs");
    fs::create_dir(&programs).unwrap();
    // A browser: it keeps what it was told to open, and by rename, so that whoever finds the file finds all of it.
    let opened = folder.path().join("opened");
    let browser = format!("#!/bin/sh\necho \"$#: $1\" >'{0}.new'; mv '{0}.new' '{0}'\n", opened.display());
    for name in ["xdg-open", "open"] {
        let program = programs.join(name);
        fs::write(&program, &browser).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let arguments = [&ANY_PORTS[..], &["--no-seed", "--open"]].concat();
    let mut command = tandem(folder.path(), &arguments);
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    command.env("PATH", path);
    let running = Running::start(command).await;
    let told = eventually("a browser was started", || async { fs::read_to_string(&opened).ok() }).await;
    assert_eq!(told, format!("1: {}/console\n", running.url()));
    assert!(running.stop("-TERM").await.success());

    // Without a browser it says so and serves.
    let mut command = tandem(folder.path(), &arguments);
    command.env("PATH", folder.path());
    let mut running = Running::start(command).await;
    assert_eq!(orders(&running.url()).await, 0);
    let mut stderr = running.child.stderr.take().unwrap();
    let url = running.url();
    assert!(running.stop("-TERM").await.success());
    let mut error = String::new();
    stderr.read_to_string(&mut error).await.unwrap();
    assert!(error.contains(&format!("cannot open {url}/console in a browser: ")), "{error}");
}
