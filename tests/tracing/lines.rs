//! The lines that `tracing-subscriber` prints at the close of each span.

use std::io;
use std::sync::{Arc, Mutex};

use tracing::Level;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::format::FmtSpan;

use super::{URL, client, finish, settle};
use crate::support::scripted::{Peers, Reply, Script};

/// The text that a subscriber has printed.
#[derive(Clone, Default)]
struct Printed(Arc<Mutex<Vec<u8>>>);

impl io::Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Printed {
    /// Starts a subscriber for the spans of this thread, until the returned guard is dropped.
    fn start(level: Level) -> (Self, DefaultGuard) {
        let printed = Self::default();
        let writer = printed.clone();
        let lines =
            tracing_subscriber::fmt().with_max_level(level).with_span_events(FmtSpan::CLOSE).with_ansi(false);
        let subscriber = lines.with_writer(move || writer.clone()).finish();
        (printed, tracing::subscriber::set_default(subscriber))
    }

    /// Returns the lines since the last call.
    fn take(&self) -> Vec<String> {
        let text = String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap();
        text.lines().map(ToOwned::to_owned).collect()
    }
}

/// A request has one line, and so does each attempt of a request that is sent again. The line has all fields.
#[tokio::test(start_paused = true)]
async fn at_the_level_info_each_attempt_has_one_line() {
    let (printed, _guard) = Printed::start(Level::INFO);
    let dying = [Reply::ok("hello"), Reply::silence().eof()];
    let script = Script { is_eager: true, ..Script::new(&[&dying, &[Reply::ok("hello")]]) };
    let peers = Peers::new(script);
    let client = client(&peers);
    let answered =
        ["INFO http.request{", "otel.name=\"GET\"", "url.full=\"http://a.test/\"", "status_code=200"];
    finish(client.get(URL).send().await.unwrap()).await;
    let lines = printed.take();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(answered.iter().all(|text| lines[0].contains(text)), "{lines:?}");

    finish(client.get(URL).send().await.unwrap()).await;
    drop(client);
    settle().await;
    let lines = printed.take();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains("error.type=\"ConnectionLost\""), "{lines:?}");
    assert!(lines[1].contains("resend_count=1") && answered.iter().all(|text| lines[1].contains(text)));
}

#[tokio::test(start_paused = true)]
async fn at_the_level_debug_each_phase_has_a_line_too() {
    let (printed, _guard) = Printed::start(Level::DEBUG);
    let peers = Peers::new(Script::new(&[&[Reply::ok("hello")]]));
    let client = client(&peers);
    finish(client.get(URL).send().await.unwrap()).await;
    drop(client);
    settle().await;
    let lines = printed.take();
    for name in ["queue", "send", "wait", "receive"] {
        let phase = format!("}}:{name}{{");
        let is_phase = |line: &&String| line.contains("DEBUG http.request{") && line.contains(&phase);
        assert_eq!(lines.iter().filter(is_phase).count(), 1, "{name}: {lines:?}");
    }
    let count = |start: &str| lines.iter().filter(|line| line.contains(start)).count();
    assert_eq!((count("INFO http.request{"), count("DEBUG connection.setup{")), (1, 1), "{lines:?}");
    assert_eq!(lines.len(), 6, "{lines:?}");
}
