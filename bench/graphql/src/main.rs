//! How fast the GraphQL API answers, beside a generic gateway on the same services; and how fast it refuses.
//!
//! Starts the program that `cargo run` starts, in its release form, as a process of its own; see the README beside this.

mod attacks;
mod figures;
mod queries;
mod system;

use std::{io::Write, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

/// Measures the GraphQL API of a program of its own. Prints tables.
#[derive(Debug, Parser)]
struct Arguments {
    /// The program.
    #[arg(long, global = true, default_value = "target/release/tandem", value_name = "FILE")]
    program: PathBuf,

    #[command(subcommand)]
    measurement: Measurement,
}

#[derive(Debug, Subcommand)]
enum Measurement {
    /// How long a refusal takes: of each attack alone, and of many at once, over each transport.
    Attacks(attacks::Arguments),
    /// How many queries a second, and how long one takes.
    Queries(queries::Arguments),
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { program, measurement } = Arguments::parse();
    let result = match measurement {
        Measurement::Attacks(arguments) => attacks::measure(&program, &arguments).await,
        Measurement::Queries(arguments) => queries::measure(&program, &arguments).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
