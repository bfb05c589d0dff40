//! Pages of orders with their invoices. The same page is asked for by everybody, but a different number of each page
//! makes the queries different: otherwise one call would be shared by all who wait.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use serde_json::json;

use crate::{
    client::{self, Client},
    percentile,
    server::{PAGE, Server},
};

/// How many connections ask at the same time.
const CONNECTIONS: [usize; 3] = [1, 16, 64];

/// Measures and prints.
pub(crate) async fn measure(each: Duration) -> anyhow::Result<()> {
    let server = Server::start().await?;
    println!("| connections | pages/s | BFF, µs a page | median, ms | 99 %, ms |");
    println!("|---:|---:|---:|---:|---:|");
    for connections in CONNECTIONS {
        // What is warmed up is not measured.
        ask(&server, connections, each / 5).await?;
        let before = server.worked()?;
        let began = Instant::now();
        let mut times = ask(&server, connections, each).await?;
        let (took, worked) = (began.elapsed(), server.worked()? - before);
        times.sort_unstable();
        println!(
            "| {connections} | {:.0} | {} | {:.2} | {:.2} |",
            times.len() as f64 / took.as_secs_f64(),
            (worked / u32::try_from(times.len())?).as_micros(),
            percentile(&times, 0.5).as_secs_f64() * 1000.0,
            percentile(&times, 0.99).as_secs_f64() * 1000.0,
        );
    }
    Ok(())
}

async fn ask(server: &Server, connections: usize, time: Duration) -> anyhow::Result<Vec<Duration>> {
    let until = Instant::now() + time;
    let asked = (0..connections).map(|number| async move {
        let query = "query($f: OrderFilter) { orders(first: 20, filter: $f) { nodes { id amount invoice { number status } } } }";
        // Each connection asks for the orders of a customer of its own.
        let filter = json!({ "customerId": format!("customer-{number}") });
        let request = client::request(&json!({ "query": query, "variables": { "f": filter } }));
        let mut client = Client::open(&server.address).await?;
        let mut times = Vec::new();
        while Instant::now() < until {
            let began = Instant::now();
            let (status, answer) = client.send(&request).await?;
            times.push(began.elapsed());
            let complete = answer.matches("\"number\"").count() == PAGE && !answer.contains("\"errors\"");
            anyhow::ensure!(status == 200 && complete, "not a page: {answer}");
        }
        anyhow::Ok(times)
    });
    Ok(try_join_all(asked).await?.into_iter().flatten().collect())
}
