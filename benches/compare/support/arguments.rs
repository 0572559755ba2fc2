//! The command line of a bench. The command line says what to measure, or that this process is the server or a
//! client of another process.

use crate::error::BoxError;
use crate::{process, server};

/// Arguments of a bench.
pub struct Arguments {
    /// Whether the bench only has to run without an error: with `--quick`, and under `cargo test --benches`.
    /// `cargo bench` passes `--bench`, and `cargo test` does not.
    pub is_quick: bool,
    pub words: Vec<String>,
}

impl Arguments {
    /// Returns the arguments. Every bench calls this function first. If this process was started as a server, or
    /// as a client under a tool, the function does that work and does not return.
    pub fn read() -> Result<Self, BoxError> {
        let words: Vec<String> = std::env::args().skip(1).collect();
        if let [role, address, kind, threads] = &words[..]
            && role == "server"
        {
            rlimit::increase_nofile_limit(u64::MAX)?;
            server::serve(address, kind, threads.parse()?)?;
            std::process::exit(0);
        }
        if words.first().is_some_and(|role| role == "client") {
            process::run(&words[1..])?;
            std::process::exit(0);
        }
        // Each end of a connection needs an open file.
        rlimit::increase_nofile_limit(u64::MAX)?;
        let has = |wanted: &str| words.iter().any(|word| word == wanted);
        Ok(Self { is_quick: has("--quick") || has("--test") || !has("--bench"), words })
    }

    /// Whether a cell is to be measured. If arguments name cells or parts of cell names, only matching cells are
    /// measured.
    pub fn wants(&self, cell: &str) -> bool {
        let mut wanted = self.words.iter().filter(|word| !word.starts_with("--")).peekable();
        wanted.peek().is_none() || wanted.any(|wanted| cell.contains(wanted.as_str()))
    }
}
