//! Fetches URLs and shows where the time went; without arguments, a demonstration on loopback.
//!
//! `cargo run --release --example fetch`, and `... --example fetch -- --help`

mod cli;
mod demo;
mod run;
mod show;

#[path = "../support/server.rs"]
mod server;
#[cfg(feature = "rustls")]
#[path = "../support/tls.rs"]
mod tls;

use std::io::Write;
use std::process::ExitCode;

use cli::Command;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let command = match cli::parse() {
        Ok(command) => command,
        Err(error) => {
            show::complain(format_args!("{error}\nTry --help."));
            return ExitCode::from(2);
        }
    };
    match command {
        Command::Print(text) => {
            // A reader that has gone away needs no text.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Command::Demo => match demo::run().await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                show::complain(error);
                ExitCode::FAILURE
            }
        },
        Command::Fetch(options) => run::run(*options).await,
    }
}
