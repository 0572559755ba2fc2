//! An example that fetches URLs and shows where the time went. Without arguments, the example runs a demonstration
//! against a server on this machine.
//!
//! Run the example by `cargo run --release --example fetch`. The argument `-- --help` prints the options.

mod chart;
mod cli;
mod demo;
mod help;
mod progress;
mod report;
mod run;
mod show;
mod sink;
mod usage;

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
            // A failed write is no error, because it means that the reader of the pipe has gone.
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
