//! What the comparisons share.

pub(crate) mod clients;
pub(crate) mod heap;
pub(crate) mod server;

/// Whether to run just enough to see that everything works: with `--quick`, and under `cargo test --benches`.
/// (`cargo bench` passes `--bench`.)
pub(crate) fn is_quick(arguments: &[String]) -> bool {
    let has = |wanted: &str| arguments.iter().any(|argument| argument == wanted);
    has("--quick") || has("--test") || !has("--bench")
}
