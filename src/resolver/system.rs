//! `getaddrinfo`, on threads of its own.
//!
//! Knows nothing of any runtime: a lookup is a line in a queue, its answer comes through a channel. The runtime's
//! blocking pool is not used, because a lookup stuck there would hold the program when it wants to end. Invariant:
//! at most [`MAX_THREADS`] threads, and a queued lookup always has a thread that will come to it.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::{Answer, Family, Resolve, Resolving};
use crate::error::BoxError;

/// The system's own resolver, `getaddrinfo`: it asks whatever the system is configured to ask, and tells nothing
/// of how long an answer is valid.
///
/// Lookups run on at most four threads, which start when they are needed and end after ten idle seconds; they do
/// not hold the program when it ends. A lookup whose future was dropped before its turn is not made.
#[derive(Clone)]
pub struct SystemResolver {
    desk: Arc<Desk>,
}

impl SystemResolver {
    /// Starts nothing yet.
    pub fn new() -> Self {
        Self::with_idle_time(IDLE_TIME)
    }

    fn with_idle_time(idle_time: Duration) -> Self {
        Self { desk: Arc::new(Desk { state: Mutex::default(), more: Condvar::new(), idle_time }) }
    }
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SystemResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SystemResolver").finish_non_exhaustive()
    }
}

impl Resolve for SystemResolver {
    fn resolve(&self, name: &str, family: Family) -> Resolving {
        let desk = Arc::clone(&self.desk);
        let name = name.to_owned();
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            desk.queue(Lookup { name, family, reply })?;
            answer.await.unwrap_or_else(|_| Err("the thread that made the lookup ended early".into()))
        })
    }
}

/// Where lookups wait for a thread.
struct Desk {
    state: Mutex<State>,
    /// A lookup was queued.
    more: Condvar,
    idle_time: Duration,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Lookup>,
    /// `idle <= threads <= MAX_THREADS`
    threads: usize,
    /// Threads that wait for a lookup, those included that were just woken for one.
    idle: usize,
}

struct Lookup {
    name: String,
    family: Family,
    reply: oneshot::Sender<Result<Answer, BoxError>>,
}

impl Desk {
    fn queue(self: &Arc<Self>, lookup: Lookup) -> Result<(), BoxError> {
        let mut state = self.lock();
        if state.queue.len() >= MAX_QUEUED {
            state.queue.retain(|queued| !queued.reply.is_closed());
        }
        if state.queue.len() >= MAX_QUEUED {
            return Err(format!("{MAX_QUEUED} lookups are waiting for the system's resolver already").into());
        }
        state.queue.push_back(lookup);
        let needs_thread = state.idle < state.queue.len() && state.threads < MAX_THREADS;
        state.threads += usize::from(needs_thread);
        drop(state);

        self.more.notify_one();
        if needs_thread { self.start_thread().map_err(Into::into) } else { Ok(()) }
    }

    fn start_thread(self: &Arc<Self>) -> io::Result<()> {
        let desk = Arc::clone(self);
        let started = std::thread::Builder::new().name("handclasp-dns".into()).spawn(move || desk.work());
        let Err(error) = started else { return Ok(()) };
        let mut state = self.lock();
        state.threads -= 1;
        if state.threads > 0 {
            return Ok(());
        }
        // Nobody would come to what is queued: dropping it tells those who wait.
        let abandoned = std::mem::take(&mut state.queue);
        drop(state);
        drop(abandoned);
        Err(error)
    }

    /// What each thread does.
    fn work(&self) {
        let mut state = self.lock();
        loop {
            if let Some(lookup) = state.queue.pop_front() {
                drop(state);
                lookup.make();
                state = self.lock();
                continue;
            }
            state.idle += 1;
            let (woken, waited) =
                self.more.wait_timeout(state, self.idle_time).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if waited.timed_out() && state.queue.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lookup {
    fn make(self) {
        if !self.reply.is_closed() {
            let answer = getaddrinfo(&self.name, self.family);
            drop(self.reply.send(answer));
        }
    }
}

fn getaddrinfo(name: &str, family: Family) -> Result<Answer, BoxError> {
    let addresses: Vec<IpAddr> = match (name, 0).to_socket_addrs() {
        Ok(found) => found.map(|address| address.ip()).filter(|&address| family.includes(address)).collect(),
        Err(error) if says_no_such_host(&error) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    Ok(Answer { addresses, valid_for: None })
}

/// Whether `getaddrinfo` says that there is no such name, or no address for it.
///
/// The standard library keeps the code only on Windows; elsewhere the C library's words are all there is. In another
/// language than English the error is passed on as it is.
fn says_no_such_host(error: &io::Error) -> bool {
    const WSAHOST_NOT_FOUND: i32 = 11001;
    const WSANO_DATA: i32 = 11004;
    if cfg!(windows) {
        return matches!(error.raw_os_error(), Some(WSAHOST_NOT_FOUND | WSANO_DATA));
    }
    let text = error.to_string();
    let words = [
        "Name or service not known",      // glibc: EAI_NONAME
        "No address associated with",     // glibc, bionic: EAI_NODATA
        "Name does not resolve",          // musl: EAI_NONAME
        "nodename nor servname provided", // macOS, the BSDs: EAI_NONAME
    ];
    words.iter().any(|words| text.contains(words))
}

/// Enough for one slow name not to hold up the others; a dead DNS server must not cost a thread per dial.
const MAX_THREADS: usize = 4;

/// Lookups that may wait for a thread: far more than a client has dials in flight.
const MAX_QUEUED: usize = 1024;

/// How long a thread waits for another lookup; tokio's blocking threads wait as long.
const IDLE_TIME: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_are_looked_up_on_threads_that_end() {
        let resolver = SystemResolver::with_idle_time(Duration::from_millis(50));
        let lookups: Vec<_> =
            (0..20).map(|_| tokio::spawn(resolver.resolve("localhost", Family::V4))).collect();
        for lookup in lookups {
            let answer = lookup.await.unwrap().unwrap();
            assert_eq!(
                (&answer.addresses[..1], answer.valid_for),
                (&["127.0.0.1".parse().unwrap()][..], None)
            );
        }
        assert!((1..=MAX_THREADS).contains(&resolver.desk.lock().threads));
        for _ in 0..500 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            if resolver.desk.lock().threads == 0 {
                return;
            }
        }
        panic!("the threads did not end");
    }

    #[tokio::test]
    async fn the_queue_is_bounded_and_dropped_lookups_make_room() {
        let resolver = SystemResolver::new();
        // No thread comes to these: it seems that all of them are busy.
        resolver.desk.lock().threads = MAX_THREADS;
        let mut waiting = Vec::new();
        for _ in 0..MAX_QUEUED {
            let (reply, answer) = oneshot::channel();
            let lookup = Lookup { name: "localhost".into(), family: Family::Both, reply };
            resolver.desk.queue(lookup).unwrap();
            waiting.push(answer);
        }
        let error = resolver.resolve("localhost", Family::Both).await.unwrap_err();
        assert_eq!(error.to_string(), "1024 lookups are waiting for the system's resolver already");
        waiting.pop();
        resolver.desk.lock().threads = 0;
        resolver.resolve("localhost", Family::Both).await.unwrap();
    }

    #[test]
    fn the_c_librarys_words_for_no_such_host_are_known() {
        if cfg!(unix) {
            let no = io::Error::other("failed to lookup address information: Name or service not known");
            assert!(says_no_such_host(&no));
        }
        assert!(!says_no_such_host(&io::Error::other("Temporary failure in name resolution")));
    }
}
