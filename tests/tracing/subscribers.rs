//! A request or a dial that goes on under another subscriber than the one under which it began.

use tracing::instrument::WithSubscriber;
use tracing_subscriber::layer::SubscriberExt;

use super::{client, finish, settle};
use crate::support::plain::Plain;
use crate::support::recorder::{Recorder, tree};
use crate::support::scripted::{Peers, Reply, Script};
use handclasp::Client;

/// The number of a span means nothing, or another span, to a subscriber that did not give the number.
#[tokio::test]
async fn the_phases_of_a_dial_stand_under_the_span_of_the_dial_in_its_own_subscriber() {
    let server = Plain::start();
    let (others, _guard) = Recorder::start();
    let recorder = Recorder::default();
    let subscriber = tracing_subscriber::registry().with(recorder.clone());
    let client = Client::builder().dns_resolver(super::Loopback).build().unwrap();
    let url = format!("http://a.test:{}/", server.address.port());
    let call = async { finish(client.get(&url).send().await.unwrap()).await };
    call.with_subscriber(subscriber).await;
    settle().await;
    let told = ["http.request(queue send wait receive)", "connection.setup(dns tcp)"];
    assert_eq!(tree(&recorder.take()), told);
    assert!(others.take().is_empty());
}

/// A subscriber is set while the request waits for its connection. The span of the caller closes after the request, because
/// a span stays open until all spans below it have closed.
#[tokio::test(start_paused = true)]
async fn the_phases_of_a_request_stand_under_its_span_in_its_own_subscriber() {
    let peers = Peers::new(Script::new(&[&[Reply::ok("hello")]]));
    let client = client(&peers);
    let (recorder, guard) = Recorder::start();
    let mut request = Box::pin(client.get(super::URL).send());
    let outer = tracing::info_span!(target: "handclasp", "outer", elapsed_ns = 0);
    outer.in_scope(|| assert!(futures_util::FutureExt::now_or_never(request.as_mut()).is_none()));
    drop(outer);
    drop(guard);
    let (others, _guard) = Recorder::start();
    finish(request.await.unwrap()).await;
    settle().await;
    let told = ["outer(http.request(queue send wait receive))", "connection.setup"];
    assert_eq!(tree(&recorder.take()), told);
    assert!(others.take().is_empty());
}
