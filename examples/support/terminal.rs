//! The terminal of the examples: the command line, lines on the standard output, and errors on the standard error.
#![allow(dead_code, unused_imports, unused_macros, reason = "each example uses a part of this module")]

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

/// Prints a line as `println!` does. If the reader of a pipe has gone, the program ends instead of panicking, so that
/// `| head` works.
macro_rules! say {
    () => { $crate::terminal::write(format_args!("\n")) };
    ($($text:tt)*) => { $crate::terminal::write(format_args!("{}\n", format_args!($($text)*))) };
}
pub(crate) use say;

/// Writes to the standard output. A failed write ends the program.
pub(crate) fn write(text: fmt::Arguments<'_>) {
    let Err(error) = io::stdout().write_fmt(text) else { return };
    if error.kind() != ErrorKind::BrokenPipe {
        complain(&error);
    }
    std::process::exit(i32::from(error.kind() != ErrorKind::BrokenPipe));
}

/// Prints an error and its causes on the standard error, after the name of the example.
pub(crate) fn complain(error: &(dyn Error + 'static)) {
    let mut text = format!("{}: {error}", env!("CARGO_CRATE_NAME"));
    let mut cause = error.source();
    while let Some(error) = cause {
        let cause_text = error.to_string();
        // Some errors repeat their cause.
        if !text.ends_with(&cause_text) {
            text += &format!(": {cause_text}");
        }
        cause = error.source();
    }
    // A failed write is ignored, because there is no other place to report it.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Prints the error of an example, and returns the status of the program: 0 without an error, 2 for a wrong command line,
/// and 1 for any other error.
pub(crate) fn status(result: Result<(), Box<dyn Error + Send + Sync>>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    complain(&*error);
    if error.is::<lexopt::Error>() {
        let _ = writeln!(io::stderr(), "Try --help.");
        return ExitCode::from(2);
    }
    ExitCode::FAILURE
}

/// Reads the command line of an example without arguments. Returns false after `--help`, for which the text is printed.
pub(crate) fn is_to_run(help: &str) -> Result<bool, lexopt::Error> {
    let mut is_to_run = true;
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            lexopt::Arg::Short('h') | lexopt::Arg::Long("help") => is_to_run = false,
            other => return Err(other.unexpected()),
        }
    }
    if !is_to_run {
        write(format_args!("{help}"));
    }
    Ok(is_to_run)
}

/// Reads a number of requests from the command line.
pub(crate) fn at_least_one(text: &str) -> Result<usize, &'static str> {
    text.parse().ok().filter(|number| *number > 0).ok_or("give a number above 0")
}

/// Returns the text of an error about a file.
pub(crate) fn about(file: &Path, error: &io::Error) -> String {
    format!("{}: {error}", file.display())
}

/// Whether `output` takes colours: colours need a terminal, and an environment that does not refuse them
/// (<https://no-color.org>).
pub(crate) fn takes_colours(output: &impl IsTerminal) -> bool {
    output.is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb")
}

/// Returns a text in one line of at most this many columns. An ellipsis stands for the rest of a text that is too long.
pub(crate) fn shortened(text: &str, width: usize) -> String {
    // A control character could change the terminal.
    let shown = text.chars().map(|letter| if letter.is_control() { '?' } else { letter });
    match text.chars().count() <= width {
        true => shown.collect(),
        false => shown.take(width - 1).chain(['…']).collect(),
    }
}

/// Writes a number and its noun: `1 request`, `2 requests`.
pub(crate) fn plural(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}
