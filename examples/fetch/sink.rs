//! The destination of the bodies, which also knows what it holds.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use tokio::io::{AsyncWrite, AsyncWriteExt};

/// Destination of the bodies: stdout, or a file that the first write opens.
pub(crate) struct Sink {
    path: Option<PathBuf>,
    out: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    /// Number of bytes written, heads included.
    written: u64,
    /// Number of bodies that are written completely.
    whole: u64,
    /// The body that is being written.
    current: Option<Current>,
}

struct Current {
    name: String,
    written: u64,
    length: Option<u64>,
}

impl Sink {
    pub(crate) fn new(path: Option<PathBuf>) -> Self {
        Self { path, out: None, written: 0, whole: 0, current: None }
    }

    /// Begins a body, with the head that stands before it.
    pub(crate) async fn begin(&mut self, name: &str, length: Option<u64>, head: &[u8]) -> io::Result<()> {
        self.current = Some(Current { name: name.to_owned(), written: 0, length });
        self.write_all(head).await
    }

    /// Writes a piece of the body that was begun.
    pub(crate) async fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.write_all(piece).await?;
        if let Some(current) = &mut self.current {
            current.written += piece.len() as u64;
        }
        Ok(())
    }

    /// Ends the body that was begun.
    pub(crate) async fn end(&mut self, is_whole: bool) -> io::Result<()> {
        self.flush().await?;
        self.current = None;
        self.whole += u64::from(is_whole);
        Ok(())
    }

    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        match &mut self.out {
            Some(out) => out.flush().await,
            None => Ok(()),
        }
    }

    async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let out = match &mut self.out {
            Some(out) => out,
            None => {
                let out: Box<dyn AsyncWrite + Send + Unpin> = match &self.path {
                    Some(path) => Box::new(tokio::fs::File::create(path).await.map_err(|error| {
                        io::Error::new(error.kind(), format!("{}: {error}", path.display()))
                    })?),
                    None => Box::new(tokio::io::stdout()),
                };
                self.out.insert(out)
            }
        };
        out.write_all(bytes).await?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Returns the name of the destination.
    pub(crate) fn place(&self) -> String {
        self.path.as_ref().map_or_else(|| "stdout".to_owned(), |path| path.display().to_string())
    }

    /// Says what the destination holds, and which body is partial.
    pub(crate) fn holds(&self) -> String {
        let place = self.place();
        if self.out.is_none() {
            return format!("nothing was written to {place}");
        }
        let mut text = format!("{place} has {} bytes: ", self.written);
        // The result is ignored because writing into a String does not fail.
        let _ = match self.whole {
            0 => Ok(()),
            1 => write!(text, "1 whole body"),
            whole => write!(text, "{whole} whole bodies"),
        };
        if let Some(Current { name, written, length }) = &self.current {
            let and = if self.whole == 0 { "" } else { ", and " };
            let _ = write!(text, "{and}a partial body of {name}: {written}");
            let _ = match length {
                Some(length) => write!(text, " of {length} bytes"),
                None => write!(text, " bytes of an unknown length"),
            };
        } else if self.whole == 0 {
            text += "no body is whole";
        }
        text
    }
}
