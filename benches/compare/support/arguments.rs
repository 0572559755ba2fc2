//! The command line of a bench: what it measures, or that it is the server or a client of another process.

use crate::error::BoxError;
use crate::{process, server};

/// What a program was asked to do.
pub struct Arguments {
    /// Just enough to see that everything works: with `--quick`, and under `cargo test --benches`. (`cargo bench`
    /// passes `--bench`.)
    pub is_quick: bool,
    pub words: Vec<String>,
}

impl Arguments {
    /// To be called first by every bench: serves, and does not return, if this process was started to serve;
    /// or is a client under some tool.
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
        // Both ends of a connection need a file each.
        rlimit::increase_nofile_limit(u64::MAX)?;
        let has = |wanted: &str| words.iter().any(|word| word == wanted);
        Ok(Self { is_quick: has("--quick") || has("--test") || !has("--bench"), words })
    }

    /// Whether a cell is to be measured: all are, unless words name some of them, whole or in part.
    pub fn wants(&self, cell: &str) -> bool {
        let mut wanted = self.words.iter().filter(|word| !word.starts_with("--")).peekable();
        wanted.peek().is_none() || wanted.any(|wanted| cell.contains(wanted.as_str()))
    }
}
