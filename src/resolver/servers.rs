//! The order in which name servers are asked: the rules of resolver(5), without its long waits.
//!
//! The servers are asked one after another, because the first servers of the list may know names that later servers do
//! not know, for example in a private network. A later server is asked if an earlier one fails, or does not answer for a
//! while. The earlier query goes on, so that a slow answer still counts. This file does not know DNS: a query is a
//! future, whose error means that another server may know more.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::time::sleep;

/// Starts the queries in order, and returns the first result that is not an error. If all queries fail, the error of the
/// query that failed last is returned. Returns `None` if there are no queries.
///
/// The next query starts when a query fails, or when the latest query was not answered for `patience`.
pub(super) async fn ask<T, E, F>(
    mut queries: impl Iterator<Item = F>,
    patience: Duration,
) -> Option<Result<T, E>>
where
    F: Future<Output = Result<T, E>> + Unpin,
{
    let mut running = vec![queries.next()?];
    let mut left = queries.peekable();
    let mut pause = pin!(sleep(patience));
    loop {
        let ended = poll_fn(|cx| {
            for at in 0..running.len() {
                if let Poll::Ready(result) = Pin::new(&mut running[at]).poll(cx) {
                    drop(running.remove(at));
                    return Poll::Ready(Some(result));
                }
            }
            if left.peek().is_none() {
                return Poll::Pending;
            }
            pause.as_mut().poll(cx).map(|()| None)
        })
        .await;
        let failure = match ended {
            Some(Ok(answer)) => return Some(Ok(answer)),
            Some(Err(error)) => Some(error),
            None => None,
        };
        if let Some(query) = left.next() {
            running.push(query);
            pause.set(sleep(patience));
        } else if let Some(error) = failure.filter(|_| running.is_empty()) {
            return Some(Err(error));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Mutex;

    use tokio::time::{Instant, timeout};

    use super::*;

    /// Runs queries that each take some milliseconds and then answer or fail. Returns the result, the time that it took,
    /// and the times at which the queries started.
    async fn run(queries: &[(u64, Result<&'static str, &'static str>)]) -> (String, u64, Vec<u64>) {
        let begun = Instant::now();
        let now = || u64::try_from(begun.elapsed().as_millis()).unwrap();
        let starts = Mutex::new(Vec::new());
        let all = queries.iter().map(|(time, result)| {
            let (starts, now) = (&starts, &now);
            Box::pin(async move {
                starts.lock().unwrap().push(now());
                let taken = timeout(Duration::from_millis(*time), pending::<()>());
                taken.await.unwrap_err();
                *result
            })
        });
        let result = ask(all, Duration::from_millis(1000)).await;
        let took = now();
        (format!("{result:?}"), took, starts.into_inner().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_server_is_asked_after_a_failure_or_a_silence() {
        const LONG: u64 = 1_000_000;
        for (queries, result, took, starts) in [
            (&[][..], "None", 0, &[][..]),
            (&[(10, Ok("a"))], r#"Some(Ok("a"))"#, 10, &[0]),
            (&[(10, Ok("a")), (1, Ok("b"))], r#"Some(Ok("a"))"#, 10, &[0]),
            (&[(10, Err("a")), (5, Ok("b"))], r#"Some(Ok("b"))"#, 15, &[0, 10]),
            (&[(10, Err("a")), (5, Err("b"))], r#"Some(Err("b"))"#, 15, &[0, 10]),
            (&[(LONG, Ok("a")), (5, Ok("b"))], r#"Some(Ok("b"))"#, 1005, &[0, 1000]),
            // The slow answer of the first server counts.
            (&[(1500, Ok("a")), (LONG, Ok("b"))], r#"Some(Ok("a"))"#, 1500, &[0, 1000]),
            // A failure of the second server does not end the first query.
            (&[(1500, Ok("a")), (5, Err("b"))], r#"Some(Ok("a"))"#, 1500, &[0, 1000]),
            (&[(1500, Err("a")), (5, Err("b"))], r#"Some(Err("a"))"#, 1500, &[0, 1000]),
            // The pause begins anew with each query.
            (&[(900, Err("a")), (LONG, Ok("b")), (5, Ok("c"))], r#"Some(Ok("c"))"#, 1905, &[0, 900, 1900]),
            (&[(1200, Err("a")), (LONG, Ok("b")), (5, Ok("c"))], r#"Some(Ok("c"))"#, 1205, &[0, 1000, 1200]),
        ] {
            let found = run(queries).await;
            assert_eq!(found, (result.to_owned(), took, starts.to_vec()), "{queries:?}");
        }
    }
}
