//! The tokio runtimes of the clients and of the server.

use tokio::runtime::Runtime;

/// Returns a runtime on which this many threads work: with one, the thread that blocks on it.
pub fn runtime(threads: usize) -> Runtime {
    let mut builder = match threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    builder.worker_threads(threads).enable_all().build().expect("there can be a runtime")
}
