//! The tokio runtimes of the clients and of the server.

use tokio::runtime::Runtime;

/// Returns a runtime with this number of threads. If the number is one, the only thread is the thread that calls
/// `block_on`.
pub fn runtime(threads: usize) -> Runtime {
    let mut builder = match threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    builder.worker_threads(threads).enable_all().build().expect("the runtime starts")
}
