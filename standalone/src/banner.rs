//! What a start tells: the addresses, where the data is, and two commands to paste. Nothing else.

use std::{path::Path, time::Duration};

pub(crate) struct Facts<'a> {
    pub(crate) gateway: &'a str,
    pub(crate) orders: &'a str,
    pub(crate) invoices: &'a str,
    pub(crate) bff: &'a str,
    pub(crate) metrics: &'a str,
    pub(crate) data: &'a Path,
    pub(crate) samples: usize,
    pub(crate) is_open: bool,
    pub(crate) took: Duration,
}

pub(crate) fn text(facts: &Facts<'_>) -> String {
    let Facts { gateway, orders, invoices, bff, metrics, data, samples, is_open, took } = facts;
    let version = env!("CARGO_PKG_VERSION");
    let data = data.display();
    let socket = gateway.replacen("http", "ws", 1);
    let samples = match samples {
        0 => "--reset starts again".to_owned(),
        n => format!("{n} sample orders, made by the running system just now; --reset starts again"),
    };
    let access = match is_open {
        true => "open: whoever reaches a port may read and change everything; JWT_SECRET and JWT_ISSUER ask for tokens",
        false => "by token:  cargo run -- token --customer NAME  and the header  Authorization: Bearer TOKEN",
    };
    let took = took.as_secs_f64();
    format!(
        "tandem {version}, embedded: one process, SQLite, in-process bus, no Docker

  Console      {gateway}/console
  Playground   {gateway}/playground
  GraphQL      {gateway}/graphql      {socket}/graphql/ws
  REST         {gateway}/orders       {gateway}/invoices
  Health       {gateway}/health       {gateway}/orders/health   {gateway}/invoices/health
  Directly     {orders}/orders       {invoices}/invoices   {bff}/graphql
  Metrics      {metrics}/metrics

  Data         {data} ({samples})
  Access       {access}

  Try:   curl -X POST {gateway}/orders -H 'Content-Type: application/json' -d '{{\"amount\": 100}}'
  Then:  curl {gateway}/graphql -H 'Content-Type: application/json' \\
           -d '{{\"query\": \"{{ orders(first: 3) {{ nodes {{ id amount status invoice {{ number status }} }} }} }}\"}}'
  Watch: curl -gN '{gateway}/graphql?query=subscription{{orderUpdated{{id,status,invoice{{status}}}}}}' \\
           -H 'Accept: text/event-stream'

Ready in {took:.1} s. Ctrl+C stops.
"
    )
}
