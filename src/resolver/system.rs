//! The system's resolver, `getaddrinfo`, which runs on its own threads.
//!
//! A lookup is an entry in a queue, and its answer arrives through a channel, so that this file does not depend on a
//! runtime. The blocking threads of tokio are not used, because a runtime that shuts down would wait for a lookup that
//! hangs. Invariant: at most [`MAX_THREADS`] threads run, and a queued lookup always has a thread that will take it.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::ToSocketAddrs;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::{Answer, Family, Resolve, Resolving};
use crate::error::BoxError;

/// Resolver of the operating system, `getaddrinfo`.
///
/// This resolver looks names up in the sources that the system is configured with. The answers of this resolver do not
/// say how long they are valid. This is the default resolver when the feature `hickory-dns` is off.
///
/// Lookups run on at most four threads. A thread starts when a lookup needs it and ends after ten idle seconds. The
/// threads do not keep the program from ending. A lookup whose future is dropped before a thread takes the lookup is
/// not made.
///
/// # Examples
///
/// ```
/// use handclasp::{Client, SystemResolver};
///
/// # fn main() -> handclasp::Result<()> {
/// let client = Client::builder().dns_resolver(SystemResolver::new()).build()?;
/// # drop(client);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SystemResolver {
    queue: Arc<Queue>,
}

impl SystemResolver {
    /// Returns a resolver. No thread starts before the first lookup.
    pub fn new() -> Self {
        Self::with_idle_time(IDLE_TIME)
    }

    fn with_idle_time(idle_time: Duration) -> Self {
        Self { queue: Arc::new(Queue { inner: Mutex::default(), added: Condvar::new(), idle_time }) }
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
        let queue = Arc::clone(&self.queue);
        let name = name.to_owned();
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            queue.push(Lookup { name, family, reply })?;
            answer.await.unwrap_or_else(|_| Err("the thread that looked the name up ended early".into()))
        })
    }
}

/// Lookups that wait for a thread, and the threads.
struct Queue {
    inner: Mutex<QueueInner>,
    /// Notified when a lookup was added.
    added: Condvar,
    /// Time after which an idle thread ends.
    idle_time: Duration,
}

#[derive(Default)]
struct QueueInner {
    lookups: VecDeque<Lookup>,
    /// Number of threads that run: `idle <= threads <= MAX_THREADS`.
    threads: usize,
    /// Number of threads that wait for a lookup, including a thread that was woken and does not run yet.
    idle: usize,
}

/// A name to look up, and the sender of its answer.
struct Lookup {
    name: String,
    family: Family,
    reply: oneshot::Sender<Result<Answer, BoxError>>,
}

impl Queue {
    /// Adds a lookup, and starts a thread if no thread is free for the lookup.
    fn push(self: &Arc<Self>, lookup: Lookup) -> Result<(), BoxError> {
        let mut inner = self.lock();
        if inner.lookups.len() >= MAX_QUEUED {
            inner.lookups.retain(|queued| !queued.reply.is_closed());
        }
        if inner.lookups.len() >= MAX_QUEUED {
            let message = format!("the system's resolver is busy: {MAX_QUEUED} lookups wait for it already");
            return Err(message.into());
        }
        inner.lookups.push_back(lookup);
        let needs_thread = inner.idle < inner.lookups.len() && inner.threads < MAX_THREADS;
        inner.threads += usize::from(needs_thread);
        drop(inner);

        self.added.notify_one();
        if needs_thread { self.start_thread().map_err(Into::into) } else { Ok(()) }
    }

    fn start_thread(self: &Arc<Self>) -> io::Result<()> {
        let queue = Arc::clone(self);
        let started = std::thread::Builder::new().name("handclasp-dns".into()).spawn(move || queue.work());
        let Err(error) = started else { return Ok(()) };
        let mut inner = self.lock();
        inner.threads -= 1;
        if inner.threads > 0 {
            return Ok(());
        }
        // No thread will take the queued lookups. The lookups are dropped, so that their callers get an error.
        let abandoned = std::mem::take(&mut inner.lookups);
        drop(inner);
        drop(abandoned);
        Err(error)
    }

    /// Makes lookups, one after another, until the thread was idle for long enough.
    fn work(&self) {
        let mut inner = self.lock();
        loop {
            if let Some(lookup) = inner.lookups.pop_front() {
                drop(inner);
                lookup.make();
                inner = self.lock();
                continue;
            }
            inner.idle += 1;
            let (woken, waited) =
                self.added.wait_timeout(inner, self.idle_time).unwrap_or_else(PoisonError::into_inner);
            inner = woken;
            inner.idle -= 1;
            if waited.timed_out() && inner.lookups.is_empty() {
                inner.threads -= 1;
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, QueueInner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lookup {
    /// Looks the name up and sends the answer. Does nothing if the receiver was dropped.
    fn make(self) {
        if !self.reply.is_closed() {
            let answer = getaddrinfo(&self.name, self.family);
            drop(self.reply.send(answer));
        }
    }
}

fn getaddrinfo(name: &str, family: Family) -> Result<Answer, BoxError> {
    match (name, 0).to_socket_addrs() {
        Ok(found) => Ok(Answer::new(found.filter(|address| family.includes(address.ip())))),
        Err(error) if says_no_such_host(&error) => Ok(Answer::default()),
        Err(error) => Err(error.into()),
    }
}

/// Whether `getaddrinfo` says that there is no such name, or that the name has no address.
///
/// The standard library keeps the error's code on Windows only. On other systems the text of the C library is compared,
/// so an error in a language other than English is not recognized.
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

/// Maximum number of threads. There are several threads, so that one slow name does not delay other names. There are
/// few threads, so that a dead DNS server does not cost one thread for each dial.
const MAX_THREADS: usize = 4;

/// Maximum number of lookups that wait for a thread. A client has far fewer dials in flight.
const MAX_QUEUED: usize = 1024;

/// Time for which a thread waits for another lookup. Blocking threads of tokio wait for the same time.
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
                (&["127.0.0.1:0".parse().unwrap()][..], None)
            );
        }
        assert!((1..=MAX_THREADS).contains(&resolver.queue.lock().threads));
        for _ in 0..500 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            if resolver.queue.lock().threads == 0 {
                return;
            }
        }
        panic!("the threads did not end");
    }

    #[tokio::test]
    async fn the_queue_is_bounded_and_dropped_lookups_make_room() {
        let resolver = SystemResolver::new();
        // The queue counts all threads as busy, so that no thread takes these lookups.
        resolver.queue.lock().threads = MAX_THREADS;
        let mut waiting = Vec::new();
        for _ in 0..MAX_QUEUED {
            let (reply, answer) = oneshot::channel();
            let lookup = Lookup { name: "localhost".into(), family: Family::Both, reply };
            resolver.queue.push(lookup).unwrap();
            waiting.push(answer);
        }
        let error = resolver.resolve("localhost", Family::Both).await.unwrap_err();
        assert_eq!(error.to_string(), "the system's resolver is busy: 1024 lookups wait for it already");
        waiting.pop();
        resolver.queue.lock().threads = 0;
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
