//! A client in a process of its own, for tools that measure a whole process. The process sends a number of
//! requests and ends.

use std::ffi::OsStr;
use std::process::{Command, Output};
use std::sync::Arc;

use crate::clients::Kind;
use crate::error::BoxError;
use crate::measure::{Team, origin};
use crate::runtime::runtime;
use crate::server::{ROOT, Server};
use crate::worker::{Job, Reading};

/// Runs a client under a tool, on one thread, and returns the output of the tool. Each of `workers` workers sends
/// `each` requests.
pub fn under(
    tool: &[impl AsRef<OsStr>],
    server: &Server,
    kind: Kind,
    workers: usize,
    each: usize,
) -> Result<Output, BoxError> {
    let (first, rest) = tool.split_first().ok_or("no tool is given")?;
    let mut command = Command::new(first);
    command.args(rest).arg(std::env::current_exe()?);
    command.args(["client", kind.name(), &server.address.to_string(), &server.control.to_string()]);
    command.args([workers.to_string(), each.to_string()]).env(ROOT, &server.root);
    let output = command.output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{kind} under {:?}: {}: {said}", first.as_ref(), output.status).into());
    }
    Ok(output)
}

/// Runs this process as a client. `words` are its arguments.
pub(crate) fn run(words: &[String]) -> Result<(), BoxError> {
    let [kind, address, control, workers, each] = words else {
        return Err("a client needs five arguments".into());
    };
    #[cfg(feature = "info-lines")]
    throw_lines_away();
    let (address, control) = (address.parse()?, control.parse()?);
    let root = std::env::var(ROOT).unwrap_or_default();
    let server = Server::elsewhere(address, control, root);
    let job = Arc::new(Job::get(&origin(server.scheme(), address), "/13", Reading::Collect)?);
    runtime(1).block_on(async {
        let mut team = Team::new(Kind::named(kind)?, &server, workers.parse()?).await?;
        team.repeat(&job, each.parse()?).await;
        Ok(())
    })
}

/// Starts a subscriber that writes a line for each span of the level INFO when the span closes, and throws the lines away.
#[cfg(feature = "info-lines")]
fn throw_lines_away() {
    use tracing_subscriber::fmt::format::FmtSpan;

    let lines = tracing_subscriber::fmt().with_max_level(tracing_subscriber::filter::LevelFilter::INFO);
    lines.with_span_events(FmtSpan::CLOSE).with_ansi(false).with_writer(std::io::sink).init();
}

/// Checks that a tool can be used. Returns the reason if it cannot.
pub fn find(tool: &str) -> Result<(), String> {
    match Command::new(tool).arg("--version").output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("{tool} --version: {}", output.status)),
        Err(error) => Err(format!("{tool}: {error}")),
    }
}
