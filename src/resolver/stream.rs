//! Streams that are made of futures, because the standard library has no stream.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;

/// Stream of the one item that a future returns.
pub(super) struct Once<F>(Option<F>);

/// Returns a stream of the one item that `future` returns.
pub(super) fn once<F: Future + Unpin>(future: F) -> Once<F> {
    Once(Some(future))
}

impl<F: Future + Unpin> Stream for Once<F> {
    type Item = F::Output;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<F::Output>> {
        let Some(future) = &mut self.0 else { return Poll::Ready(None) };
        let item = ready!(Pin::new(future).poll(cx));
        self.0 = None;
        Poll::Ready(Some(item))
    }
}

/// Stream whose items are made one after another by an async function, from a state that each call passes on.
pub(super) struct Unfold<S, N, F> {
    state: Option<S>,
    next: N,
    /// Future that makes the next item.
    making: Option<Pin<Box<F>>>,
}

/// Returns a stream of the items that `next` makes. `next` gets the state, and returns the next item and the state, or
/// `None` at the end.
pub(super) fn unfold<S, T, N, F>(state: S, next: N) -> Unfold<S, N, F>
where
    S: Unpin,
    N: FnMut(S) -> F + Unpin,
    F: Future<Output = Option<(T, S)>>,
{
    Unfold { state: Some(state), next, making: None }
}

impl<S, T, N, F> Stream for Unfold<S, N, F>
where
    S: Unpin,
    N: FnMut(S) -> F + Unpin,
    F: Future<Output = Option<(T, S)>>,
{
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let this = self.get_mut();
        if let Some(state) = this.state.take() {
            this.making = Some(Box::pin((this.next)(state)));
        }
        let Some(making) = &mut this.making else { return Poll::Ready(None) };
        let made = ready!(making.as_mut().poll(cx));
        this.making = None;
        Poll::Ready(made.map(|(item, state)| {
            this.state = Some(state);
            item
        }))
    }
}

/// Returns the next item of a stream.
pub(super) async fn next<S: Stream + Unpin + ?Sized>(stream: &mut S) -> Option<S::Item> {
    std::future::poll_fn(|cx| Pin::new(&mut *stream).poll_next(cx)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stream_of_futures_has_their_items_and_an_end() {
        let mut one = once(std::future::ready(7));
        assert_eq!((next(&mut one).await, next(&mut one).await, next(&mut one).await), (Some(7), None, None));

        let mut numbers = unfold(1, |at| async move {
            tokio::task::yield_now().await;
            (at < 3).then_some((at, at + 1))
        });
        for expected in [Some(1), Some(2), None, None] {
            assert_eq!(next(&mut numbers).await, expected);
        }
    }
}
