//! The command line of the example `pooled_vs_fresh`.

use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::{Long, Short, Value, ValueExt};

use crate::terminal::at_least_one;

/// The arguments of the command line.
pub(crate) struct Arguments {
    /// `None` for the server of the example.
    pub(crate) url: Option<String>,
    pub(crate) requests: usize,
    /// Number of bytes in each response of the server of the example.
    pub(crate) body: u64,
    /// Round-trip time of the link between the client and the server of the example.
    pub(crate) round_trip: Option<Duration>,
    pub(crate) svg: Option<PathBuf>,
    pub(crate) wants_help: bool,
}

impl Arguments {
    pub(crate) fn read() -> Result<Self, lexopt::Error> {
        let mut read =
            Self { url: None, requests: 20, body: 1024, round_trip: None, svg: None, wants_help: false };
        let mut body = None;
        let mut parser = lexopt::Parser::from_env();
        while let Some(argument) = parser.next()? {
            match argument {
                Short('n') | Long("requests") => read.requests = parser.value()?.parse_with(at_least_one)?,
                Long("body") => body = Some(parser.value()?.parse_with(size)?),
                Long("rtt") => read.round_trip = Some(Duration::from_millis(parser.value()?.parse()?)),
                Long("svg") => read.svg = Some(parser.value()?.into()),
                Short('h') | Long("help") => read.wants_help = true,
                Value(url) if read.url.is_none() => read.url = Some(url.string()?),
                other => return Err(other.unexpected()),
            }
        }
        if read.url.is_some() && (body.is_some() || read.round_trip.is_some()) {
            return Err("--body and --rtt are for the server of the example, and need no URL".into());
        }
        read.body = body.unwrap_or(read.body);
        Ok(read)
    }
}

/// Reads a size: `100`, `8k`, `1M`.
fn size(text: &str) -> Result<u64, &'static str> {
    let (digits, shift) = match text.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 10),
        None => text.strip_suffix(['m', 'M']).map_or((text, 0), |digits| (digits, 20)),
    };
    let number: u64 = digits.parse().map_err(|_| "give a size, such as 100, 8k or 1M")?;
    number.checked_mul(1 << shift).ok_or("the size is too large")
}

pub(crate) const HELP: &str = "\
pooled_vs_fresh [URL] [OPTIONS]

Sends the same requests over one kept connection, and over a new connection for
each request. Without a URL, the requests go to a server of this example.

  -n, --requests N  number of requests, one after another (default 20)
      --body SIZE   bytes in each response: 100, 8k, 1M (default 1k; no URL)
      --rtt MS      round-trip time of a link to the server (Linux; no URL)
      --svg FILE    writes a picture of the phases of all requests
  -h, --help        prints this text
";
