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
#[path = "../support/terminal.rs"]
mod terminal;
#[cfg(feature = "rustls")]
#[path = "../support/tls.rs"]
mod tls;

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
            terminal::write(format_args!("{text}"));
            ExitCode::SUCCESS
        }
        Command::Demo => terminal::status(demo::run().await),
        Command::Fetch(options) => run::run(*options).await,
    }
}
