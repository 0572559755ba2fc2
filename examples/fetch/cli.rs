//! Parser of the command line, and the help text.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use lexopt::prelude::*;

pub(crate) enum Command {
    Demo,
    Print(&'static str),
    Fetch(Box<Options>),
}

pub(crate) struct Options {
    pub(crate) urls: Vec<String>,
    pub(crate) include: bool,
    pub(crate) fail: bool,
    pub(crate) silent: bool,
    pub(crate) output: Option<PathBuf>,
    /// Number of times that each URL is fetched, at least 1.
    pub(crate) repeat: u64,
    /// Largest number of requests under way at the same time, at least 1.
    pub(crate) parallel: usize,
    pub(crate) headers: HeaderMap,
    pub(crate) data: Option<String>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) resolve: Vec<(String, SocketAddr)>,
    pub(crate) cacert: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            include: false,
            fail: false,
            silent: false,
            output: None,
            repeat: 1,
            parallel: 1,
            headers: HeaderMap::new(),
            data: None,
            timeout: None,
            resolve: Vec::new(),
            cacert: None,
        }
    }
}

pub(crate) fn parse() -> Result<Command, lexopt::Error> {
    let mut options = Options::default();
    let mut parser = lexopt::Parser::from_env();
    let mut is_empty = true;
    while let Some(argument) = parser.next()? {
        is_empty = false;
        match argument {
            Short('h') | Long("help") => return Ok(Command::Print(HELP)),
            Short('V') | Long("version") => return Ok(Command::Print(VERSION)),
            Short('i') | Long("include") => options.include = true,
            Short('f') | Long("fail") => options.fail = true,
            Short('s') | Long("silent") => options.silent = true,
            Short('o') | Long("output") => options.output = Some(parser.value()?.into()),
            Short('n') => options.repeat = parser.value()?.parse_with(positive)?,
            Short('c') => options.parallel = parser.value()?.parse_with(positive)?,
            Short('H') | Long("header") => {
                let (name, value) = parser.value()?.parse_with(header)?;
                options.headers.append(name, value);
            }
            Short('d') | Long("data") => options.data = Some(parser.value()?.string()?),
            Long("timeout") => options.timeout = Some(parser.value()?.parse_with(seconds)?),
            Long("resolve") => options.resolve.push(parser.value()?.parse_with(resolve)?),
            Long("cacert") => options.cacert = Some(parser.value()?.into()),
            Value(url) => options.urls.push(url.string()?),
            _ => return Err(argument.unexpected()),
        }
    }
    if is_empty {
        return Ok(Command::Demo);
    }
    if options.urls.is_empty() {
        return Err("no URL was given".into());
    }
    Ok(Command::Fetch(Box::new(options)))
}

fn positive<T: std::str::FromStr + Default + PartialOrd>(text: &str) -> Result<T, &'static str> {
    text.parse().ok().filter(|number| *number > T::default()).ok_or("give a number above 0")
}

fn seconds(text: &str) -> Result<Duration, &'static str> {
    let seconds = text.parse().ok().filter(|seconds| *seconds > 0.0);
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or("give a number of seconds above 0")
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("write a header field as 'name: value'")?;
    let name = name.trim().parse().map_err(|_| format!("{name:?} is not a field name"))?;
    // The message does not repeat the value, because it may be a secret.
    let value = value.trim().parse().map_err(|_| format!("the value of {name} is not a field value"))?;
    Ok((name, value))
}

/// Parses `host:port:address`, and returns the host and the address with the port. Brackets may surround an IPv6
/// address.
fn resolve(text: &str) -> Result<(String, SocketAddr), &'static str> {
    const FORM: &str = "write the argument as host:port:address";
    let (host, rest) = text.split_once(':').filter(|(host, _)| !host.is_empty()).ok_or(FORM)?;
    let (port, address) = rest.split_once(':').ok_or(FORM)?;
    let port: u16 = port.parse().map_err(|_| FORM)?;
    let bare = address.strip_prefix('[').and_then(|address| address.strip_suffix(']')).unwrap_or(address);
    let address: IpAddr = bare.parse().map_err(|_| FORM)?;
    Ok((format!("{host}:{port}"), SocketAddr::new(address, port)))
}

const VERSION: &str = concat!("fetch (handclasp ", env!("CARGO_PKG_VERSION"), ")\n");

const HELP: &str = "\
Fetches URLs over pooled HTTP/1.1 connections, and shows where the time went.

Usage: fetch                      run a demonstration against a server on this machine
       fetch [options] URL...

  -i, --include            write the status line and the header fields before the body
  -o, --output FILE        write to FILE instead of stdout
  -n N                     fetch each URL N times
  -c C                     run up to C requests at the same time
  -H, --header 'k: v'      send a header field (may be given several times)
  -d, --data TEXT          send TEXT by POST
  -f, --fail               treat a status of 400 or more as a failure, and do not write its body
  -s, --silent             print only errors on stderr
      --timeout SECONDS    end each request after this time in total
      --cacert FILE        also trust the certificates in FILE (PEM)
      --resolve HOST:PORT:ADDRESS
                           connect to ADDRESS for HOST:PORT
  -h, --help               print this text
  -V, --version            print the version

The body of each URL is written once, in the order of the URLs. With -n, the body of the first fetch
is written, and the others are discarded. Up to 10 redirects are followed.

Each request prints one line on stderr: its status, the size of its body, its time, a bar of its
phases, the number of its connection, the number of the request on this connection, whether the
connection was reused or new, and how long each phase took. The letters of the bar:

  q queue   d dns   c connect   t tls   s send   w wait   r receive   p earlier attempts

At the end the pool's ledger is printed: connections opened, requests served, and what reuse saved.

Exit status: 0 for success, 1 if a request or a write failed, 2 for a wrong command line.
";
