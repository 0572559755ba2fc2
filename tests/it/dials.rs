//! Tests of waiting requests, of dials, and of which request gets which connection: rules 3 to 14 of the pool. The tests
//! use dials in memory and a paused clock.
//!
//! Every dial ends as the test says, and every connection can be held busy, so that the test chooses each order of
//! events. `src/pool/policy/` has the tests of the policy alone, and `burst.rs` has the tests over sockets.

#![allow(clippy::unwrap_used, reason = "a test")]

mod ahead;
mod scripts;

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use handclasp::{Client, ClientBuilder, DropReason, ErrorKind, Phase};
use tokio::time::Instant;

use crate::support::dials::{Asked, Dials, Far, ask, counts, settle};

const URL: &str = "http://a.test/";

const SECOND: Duration = Duration::from_secs(1);

fn bench(settings: impl FnOnce(ClientBuilder) -> ClientBuilder) -> (Dials, Client) {
    let dials = Dials::default();
    let client = settings(dials.builder()).build().unwrap();
    (dials, client)
}

/// Sends requests for `/1`, `/2` and so on to host a.
fn ask_all(client: &Client, numbers: impl IntoIterator<Item = usize>) -> Vec<Asked> {
    numbers.into_iter().map(|number| ask(client, &format!("{URL}{number}"))).collect()
}

/// Makes a connection, sends a request on it that is not answered, and returns the connection's far end and the request.
async fn busy(dials: &Dials, client: &Client, url: &str) -> (Far, Asked) {
    let asked = ask(client, url);
    let far = dials.want_dial().await.hold();
    settle().await;
    assert_eq!(far.asked().len(), 1);
    (far, asked)
}

/// Makes `count` idle connections and returns their far ends.
async fn open(dials: &Dials, client: &Client, count: usize) -> Vec<Far> {
    let asked: Vec<_> = (0..count).map(|_| ask(client, URL)).collect();
    let fars: Vec<_> = dials.want_dials(count).await.into_iter().map(|dial| dial.hold()).collect();
    settle().await;
    fars.iter().for_each(Far::release);
    for asked in asked {
        asked.answer().await;
    }
    fars
}

#[tokio::test(start_paused = true)]
async fn rule_06_idle_connections_are_taken_newest_first() {
    let (dials, client) = bench(|client| client);
    let asked = ask_all(&client, 0..3);
    let fars: Vec<_> = dials.want_dials(3).await.into_iter().map(|dial| dial.hold()).collect();
    settle().await;
    for at in [1, 2, 0] {
        fars[at].answer();
        settle().await;
    }
    for asked in asked {
        asked.answer().await;
    }
    assert_eq!(counts(&client), [3, 0, 0, 0]);
    let asked = ask_all(&client, 3..6);
    settle().await;
    let took: Vec<_> = dials.served()[3..].iter().map(|(connection, _)| *connection).collect();
    assert_eq!(took, [1, 3, 2]);
    fars.iter().for_each(Far::release);
    for asked in asked {
        asked.answer().await;
    }
    dials.none_wanted().await;
}

/// A freed connection is handed to the oldest waiter at once. A task that frees a connection and sends another request
/// without an await in between is therefore queued last.
#[tokio::test(start_paused = true)]
async fn rule_06_a_freed_connection_is_handed_to_the_oldest_waiter() {
    let (dials, client) = bench(|client| client.max_connections_per_host(1));
    let greedy = client.clone();
    let greedy = tokio::spawn(async move {
        for round in 0..3 {
            let response = greedy.get(format!("{URL}greedy-{round}")).send().await.unwrap();
            // The content came with the head, so that no await lies between the end of this request and the next request.
            assert_eq!(response.text().await.unwrap(), "1");
        }
    });
    let far = dials.want_dial().await.hold();
    let asked = ask_all(&client, 1..=4);
    for _ in 0..7 {
        settle().await;
        assert_eq!(far.asked().len(), 1);
        far.answer();
    }
    for asked in asked {
        assert_eq!(asked.answer().await, 1);
    }
    greedy.await.unwrap();
    let order = ["/greedy-0", "/1", "/2", "/3", "/4", "/greedy-1", "/greedy-2"];
    assert_eq!(dials.targets(), order);
    assert_eq!((dials.begun(), counts(&client)), (1, [1, 0, 0, 0]));
}

/// Event on the connection that a waiter waits for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    Dialed,
    DialFailed,
    Freed,
    Closed,
}

/// The oldest waiter is polled n times and dropped. The event comes before one of the polls or before the drop, so that the
/// waiter may have been handed a connection without having seen it. In each case the next waiter gets a connection. If
/// nothing was sent on the handed connection, the next waiter gets that connection.
#[test]
fn rule_07_a_waiter_that_is_dropped_at_any_poll_loses_nothing() {
    let mut drops = 0;
    for event in [Event::Dialed, Event::DialFailed, Event::Freed, Event::Closed] {
        for at in 1..4 {
            for polls in 1.. {
                assert!(polls < 100, "the request does not end");
                let is_complete = paused(drop_after(event, at, polls));
                drops += 1;
                if is_complete {
                    break;
                }
            }
        }
    }
    println!("{drops} drops");
    assert!(drops > 30, "{drops} drops");
}

fn paused<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.unwrap().block_on(test)
}

/// Whether the request was answered or failed within this many polls.
async fn drop_after(event: Event, at: usize, polls: usize) -> bool {
    let what = format!("{event:?} before poll {at}, dropped after {polls} polls");
    let (dials, client) = bench(|client| client.max_connections_per_host(1));
    let mut holder = None;
    if matches!(event, Event::Freed | Event::Closed) {
        holder = Some(busy(&dials, &client, URL).await.0);
    }
    let request = client.get(format!("{URL}dropped")).send();
    let mut dropped: Pin<Box<dyn Future<Output = _>>> = Box::pin(async { request.await?.text().await });
    let mut behind = None;
    let mut is_complete = false;
    for poll in 0..polls {
        if poll == at {
            happen(event, &dials, holder.as_ref()).await;
        }
        is_complete = dropped.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
        behind.get_or_insert_with(|| ask(&client, &format!("{URL}behind")));
        settle().await;
        if is_complete {
            break;
        }
    }
    if polls == at {
        happen(event, &dials, holder.as_ref()).await;
    }
    drop(dropped);
    settle().await;
    if polls < at {
        happen(event, &dials, holder.as_ref()).await;
    }
    // If the dropped request was already sent, dropping it closed its connection.
    let was_sent = dials.targets().contains(&"/dropped".to_owned());
    let is_lost = was_sent && !is_complete;
    let has_failed = matches!(event, Event::DialFailed | Event::Closed);
    for dial in dials.unseen() {
        dial.finish();
    }
    let got = behind.unwrap().answer().await;
    let dialed = 1 + usize::from(is_lost) + usize::from(has_failed);
    assert_eq!((dials.begun(), got), (dialed, dialed), "{what}");
    assert_eq!(counts(&client), [1, 0, 0, 0], "{what}");
    assert_eq!(dials.total().peak, 1, "{what}");
    is_complete
}

async fn happen(event: Event, dials: &Dials, holder: Option<&Far>) {
    match (event, holder) {
        (Event::DialFailed, _) => dials.want_dial().await.fail("no line"),
        (Event::Freed, Some(holder)) => holder.release(),
        (Event::Closed, Some(holder)) => {
            holder.answer_last();
            dials.want_dial().await.finish();
        }
        _ => drop(dials.want_dial().await.finish()),
    }
    settle().await;
}

/// Every way in which a dial can end frees the only slot.
#[tokio::test(start_paused = true)]
async fn rule_08_a_slot_is_free_however_its_dial_ends() {
    #[derive(Debug)]
    enum End {
        Fails,
        Panics,
        TimesOut,
        IsLeft,
        IsLeftAndPanics,
    }
    for end in [End::Fails, End::Panics, End::TimesOut, End::IsLeft, End::IsLeftAndPanics] {
        let (dials, client) = bench(|client| client.max_connections_per_host(1).max_connections(1));
        let first = ask(&client, URL);
        let dial = dials.want_dial().await;
        let behind = match end {
            End::IsLeft | End::IsLeftAndPanics => {
                first.cancel().await;
                None
            }
            _ => Some(first),
        };
        assert_eq!(counts(&client)[1..3], [0, 1], "{end:?}");
        match end {
            End::Fails => dial.fail("no line"),
            End::Panics | End::IsLeftAndPanics => dial.panic(),
            End::TimesOut | End::IsLeft => {
                dial.hang();
                tokio::time::sleep(10 * SECOND).await;
            }
        }
        if let Some(first) = behind {
            let kind = if let End::TimesOut = end { ErrorKind::Timeout } else { ErrorKind::Connect };
            assert_eq!(first.error().await.kind(), kind, "{end:?}");
        }
        dials.none_wanted().await;
        assert_eq!((counts(&client), dials.total().dialing), ([0; 4], 0), "{end:?}");
        let next = ask(&client, URL);
        dials.want_dial().await.finish();
        assert_eq!(next.answer().await, 2, "{end:?}");
        assert_eq!(dials.total().peak, 1, "{end:?}");
        assert_eq!(client.pool().stats().total.failed_dials, 1, "{end:?}");
    }
}

/// The connector panics before it returns a future. The panic fails the request and frees the slot.
#[tokio::test(start_paused = true)]
async fn rule_08_a_connector_that_panics_when_called_frees_the_slot() {
    let dials = Dials::default();
    let (calls, connector) = (AtomicUsize::new(0), dials.connector());
    let client = Client::builder().max_connections(1).connector(move |to| {
        assert!(calls.fetch_add(1, Ordering::SeqCst) > 0, "this panic is part of the test");
        connector(to)
    });
    let client = client.build().unwrap();
    assert_eq!(ask(&client, URL).error().await.kind(), ErrorKind::Connect);
    let next = ask(&client, URL);
    dials.want_dial().await.finish();
    assert_eq!((next.answer().await, counts(&client)), (1, [1, 0, 0, 0]));
}

#[tokio::test(start_paused = true)]
async fn rule_09_a_freed_connection_serves_before_the_dial_does() {
    let (dials, client) = bench(|client| client);
    let (far, first) = busy(&dials, &client, URL).await;
    let second = ask(&client, URL);
    let dial = dials.want_dial().await;
    far.answer();
    assert_eq!(first.answer().await, 1);
    assert_eq!(counts(&client), [0, 1, 1, 0], "the second request has the connection of the first");
    far.answer();
    assert_eq!(second.answer().await, 1);
    // The dial continues although its waiter got another connection.
    assert_eq!(counts(&client), [1, 0, 1, 0]);
    dial.finish();
    dials.none_wanted().await;
    assert_eq!((counts(&client), dials.begun()), ([2, 0, 0, 0], 2));
}

#[tokio::test(start_paused = true)]
async fn rule_09_a_dial_serves_before_a_connection_is_freed() {
    let (dials, client) = bench(|client| client);
    let (far, first) = busy(&dials, &client, URL).await;
    let second = ask(&client, URL);
    dials.want_dial().await.finish();
    assert_eq!(second.answer().await, 2);
    far.answer();
    assert_eq!(first.answer().await, 1);
    assert_eq!((counts(&client), dials.begun()), ([2, 0, 0, 0], 2));
}

/// A dial whose waiter got a freed connection serves the next request, which begins no dial.
#[tokio::test(start_paused = true)]
async fn rule_09_a_dial_that_lost_its_waiter_serves_another() {
    let (dials, client) = bench(|client| client);
    let (far, first) = busy(&dials, &client, URL).await;
    let second = ask(&client, URL);
    let dial = dials.want_dial().await;
    far.answer();
    first.answer().await;
    let third = ask(&client, URL);
    dials.none_wanted().await;
    dial.finish();
    assert_eq!(third.answer().await, 2);
    far.answer();
    assert_eq!(second.answer().await, 1);
    assert_eq!((counts(&client), dials.begun()), ([2, 0, 0, 0], 2));
}

/// Dials finish and connections are freed in any order. The oldest waiter gets each connection.
#[tokio::test(start_paused = true)]
async fn rule_09_waiters_are_served_in_order_by_whatever_comes() {
    let (dials, client) = bench(|client| client);
    let (far, first) = busy(&dials, &client, &format!("{URL}0")).await;
    let asked = ask_all(&client, 1..=4);
    let mut under_way = dials.want_dials(4).await;
    let mut fars = vec![far];
    for at in [2, 0] {
        // The dial at this index is not the dial that the oldest waiter began.
        fars.push(under_way.remove(at).hold());
        settle().await;
    }
    fars[0].answer();
    first.answer().await;
    fars.push(under_way.remove(1).hold());
    settle().await;
    assert_eq!(dials.targets(), ["/0", "/1", "/2", "/3", "/4"]);
    let took: Vec<_> = dials.served().iter().map(|(connection, _)| *connection).collect();
    assert_eq!(took, [1, 4, 2, 1, 5]);
    fars.iter().for_each(Far::release);
    for asked in asked {
        asked.answer().await;
    }
    under_way.remove(0).finish();
    dials.none_wanted().await;
    assert_eq!((counts(&client), dials.begun()), ([5, 0, 0, 0], 5));
}

#[tokio::test(start_paused = true)]
async fn rule_10_a_hundred_after_one_that_left_begin_ninety_nine_dials() {
    let (dials, client) = bench(|client| client);
    let left = ask(&client, URL);
    let mut under_way = dials.want_dials(1).await;
    left.cancel().await;
    let asked = ask_all(&client, 0..100);
    under_way.extend(dials.want_dials(99).await);
    assert_eq!(counts(&client), [0, 0, 100, 100]);
    under_way.into_iter().for_each(|dial| drop(dial.finish()));
    for asked in asked {
        asked.answer().await;
    }
    dials.none_wanted().await;
    assert_eq!(dials.begun(), 100);
}

#[tokio::test(start_paused = true)]
async fn rule_10_dials_never_exceed_live_waiters() {
    let (dials, client) = bench(|client| client);
    let mut asked = ask_all(&client, 1..=5);
    let mut under_way = dials.want_dials(5).await;
    for _ in 0..3 {
        asked.remove(1).cancel().await;
    }
    asked.extend(ask_all(&client, 6..=8));
    dials.none_wanted().await;
    asked.extend(ask_all(&client, [9]));
    under_way.extend(dials.want_dials(1).await);
    assert_eq!(counts(&client), [0, 0, 6, 6]);
    // The failed dial fails the oldest waiter. The five other waiters still have five dials.
    under_way.remove(0).fail("no line");
    assert_eq!(asked.remove(0).error().await.kind(), ErrorKind::Connect);
    dials.none_wanted().await;
    assert_eq!(counts(&client), [0, 0, 5, 5]);
    under_way.into_iter().for_each(|dial| drop(dial.finish()));
    for asked in asked {
        asked.answer().await;
    }
    assert_eq!((counts(&client), dials.begun()), ([5, 0, 0, 0], 6));
}

/// A waiter that left while the limit allowed no dial does not begin a dial when a slot becomes free.
#[tokio::test(start_paused = true)]
async fn rule_10_waiters_that_left_begin_no_dial() {
    let (dials, client) = bench(|client| client.max_connections_per_host(2));
    let (one, first) = busy(&dials, &client, URL).await;
    let (other, second) = busy(&dials, &client, URL).await;
    let asked = ask_all(&client, 0..10);
    assert!(asked[9].is_waiting().await);
    assert_eq!(counts(&client), [0, 2, 0, 10]);
    for asked in asked {
        asked.cancel().await;
    }
    // A request that was never polled was never queued.
    drop(client.get(URL).send());
    assert_eq!(counts(&client), [0, 2, 0, 0]);
    one.answer_last();
    other.answer_last();
    first.answer().await;
    second.answer().await;
    dials.none_wanted().await;
    assert_eq!((dials.begun(), counts(&client)), (2, [0; 4]));
}

/// Each failed dial fails the oldest waiter. While other requests wait, a new dial replaces the failed dial.
#[tokio::test(start_paused = true)]
async fn rule_11_a_failure_of_an_attempt_fails_one() {
    let (dials, client) = bench(|client| client.max_connections_per_host(2));
    let mut asked = ask_all(&client, 1..=4);
    let mut under_way = dials.want_dials(2).await;
    under_way.remove(0).fail("no line");
    let error = asked.remove(0).error().await;
    assert_eq!(error.kind(), ErrorKind::Connect);
    assert!(error.chain().to_string().ends_with("no line"), "{}", error.chain());
    under_way.extend(dials.want_dials(1).await);
    assert_eq!(counts(&client), [0, 0, 2, 3]);
    // This dial succeeds, so that the next failure counts as the first failure in a row.
    let far = under_way.remove(0).hold();
    settle().await;
    under_way.remove(0).fail("no line");
    assert_eq!(asked.remove(1).error().await.kind(), ErrorKind::Connect);
    let last = dials.want_dial().await;
    far.release();
    assert_eq!(asked.remove(0).answer().await, 2);
    assert_eq!(asked.remove(0).answer().await, 2, "the connection was freed before the dial had ended");
    last.finish();
    dials.none_wanted().await;
    assert_eq!((counts(&client), dials.begun()), ([2, 0, 0, 0], 4));
}

/// A dial fails while another one is under way for the remaining waiter.
#[tokio::test(start_paused = true)]
async fn rule_11_who_has_another_dial_in_sight_is_not_failed() {
    let (dials, client) = bench(|client| client);
    let [left, stays] = [ask(&client, URL), ask(&client, URL)];
    let mut under_way = dials.want_dials(2).await;
    left.cancel().await;
    under_way.remove(1).fail("no line");
    dials.none_wanted().await;
    assert!(stays.is_waiting().await, "a dial is under way for the request");
    under_way.remove(0).finish();
    assert_eq!(stays.answer().await, 1);
}

#[tokio::test(start_paused = true)]
async fn rule_12_a_dial_that_nobody_waits_for_becomes_idle() {
    let (dials, client) = bench(|client| client);
    let left = ask(&client, URL);
    let dial = dials.want_dial().await;
    left.cancel().await;
    assert_eq!(counts(&client), [0, 0, 1, 0]);
    let far = dial.finish();
    dials.none_wanted().await;
    assert_eq!((counts(&client), far.is_gone()), ([1, 0, 0, 0], false));
    assert_eq!(ask(&client, URL).answer().await, 1);
    assert_eq!((dials.begun(), client.pool().stats().total.reused), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn rule_12_a_dial_that_nobody_waits_for_keeps_its_own_deadline() {
    let (dials, client) = bench(|client| client.connect_timeout(7 * SECOND));
    let left = ask(&client, URL);
    let begun = Instant::now();
    dials.want_dial().await.hang();
    left.cancel().await;
    let before = begun + 7 * SECOND - Duration::from_millis(1);
    tokio::time::sleep_until(before).await;
    assert_eq!((counts(&client), dials.total().dialing), ([0, 0, 1, 0], 1));
    tokio::time::sleep_until(before + Duration::from_millis(2)).await;
    assert_eq!((counts(&client), dials.total().dialing), ([0; 4], 0));
    assert_eq!((dials.begun(), client.pool().stats().total.failed_dials), (1, 1));
}

/// A finished dial has no waiter, and the limits do not allow another idle connection. The connection is closed because
/// another host waits for a slot, or because the pool keeps no idle connections.
#[tokio::test(start_paused = true)]
async fn rule_12_a_dial_that_nobody_waits_for_makes_room_where_room_is_needed() {
    let (dials, client) = bench(|client| client.max_connections(1));
    let left = ask(&client, URL);
    let dial = dials.want_dial().await;
    left.cancel().await;
    let other = ask(&client, "http://b.test/");
    dials.none_wanted().await;
    let far = dial.finish();
    let dial = dials.want_dial().await;
    assert_eq!((far.is_gone(), dial.host.as_str()), (true, "b.test"));
    dial.finish();
    assert_eq!(other.answer().await, 2);
    assert_eq!((dials.total().peak, client.pool().stats().total.closed(DropReason::Evicted)), (1, 1));

    for settings in [
        |client: ClientBuilder| client.max_idle(0),
        |client: ClientBuilder| client.max_idle_per_host(0),
        |client: ClientBuilder| client.idle_timeout(Duration::ZERO),
    ] {
        let (dials, client) = bench(settings);
        let left = ask(&client, URL);
        let dial = dials.want_dial().await;
        left.cancel().await;
        let far = dial.finish();
        dials.none_wanted().await;
        assert_eq!((far.is_gone(), counts(&client)), (true, [0; 4]));
    }
}

/// After two failed dials the host has one dial at a time. The outcome of that dial decides all requests that come while it
/// is under way.
#[tokio::test(start_paused = true)]
async fn rule_13_a_failing_host_has_one_dial_at_a_time() {
    let (dials, client) = bench(|client| client);
    for _ in 0..2 {
        let asked = ask(&client, URL);
        dials.want_dial().await.fail("no line");
        assert_eq!(asked.error().await.kind(), ErrorKind::Connect);
    }
    for round in 0..5 {
        // The pool does not pause between two dials.
        let asked = ask_all(&client, 0..10);
        let dial = dials.want_dial().await;
        dials.none_wanted().await;
        assert_eq!(counts(&client), [0, 0, 1, 10], "round {round}");
        if round < 4 {
            dial.fail("no line");
            for asked in asked {
                let error = asked.error().await;
                assert_eq!((error.kind(), error.is_not_attempted()), (ErrorKind::Connect, false));
                assert!(error.chain().to_string().ends_with("no line"), "{}", error.chain());
            }
            dials.none_wanted().await;
        } else {
            // After a success, there are as many dials as requests.
            let far = dial.hold();
            dials.want_dials(9).await.into_iter().for_each(|dial| drop(dial.finish()));
            far.release();
            for asked in asked {
                asked.answer().await;
            }
        }
    }
}

/// Each of four tries, sent 100 ms apart, begins a dial.
#[tokio::test(start_paused = true)]
async fn rule_13_every_try_of_a_retry_loop_is_dialed() {
    let (dials, client) = bench(|client| client);
    for tries in 1..=4 {
        let asked = ask(&client, URL);
        dials.want_dial().await.fail("no line");
        assert_eq!(asked.error().await.kind(), ErrorKind::Connect);
        assert_eq!(dials.begun(), tries);
        tokio::time::sleep(SECOND / 10).await;
    }
    let asked = ask(&client, URL);
    dials.want_dial().await.finish();
    assert_eq!(asked.answer().await, 5, "the first request after the host is back succeeds");
}

/// A later request waits for the dial that the first request began. The timeout error of the later request names the
/// phase of that dial.
#[tokio::test(start_paused = true)]
async fn a_timeout_while_a_shared_dial_connects_names_its_phase() {
    for limit in [usize::MAX, 1] {
        let (dials, client) = bench(|client| client.max_connections_per_host(limit));
        for request in 1..=4 {
            let error = client.get(URL).timeout(SECOND).send().await.unwrap_err();
            assert_eq!(
                (error.kind(), error.phase()),
                (ErrorKind::Timeout, Some(Phase::Tcp)),
                "request {request}"
            );
            assert!(error.is_connect() && error.is_timeout());
            let error = client.get(URL).connect_timeout(SECOND).send().await.unwrap_err();
            assert_eq!(
                (error.kind(), error.phase()),
                (ErrorKind::Timeout, Some(Phase::Tcp)),
                "request {request}"
            );
        }
        assert_eq!(dials.begun(), 1);
    }
    // If a connection of the host is in use, the error names the queue as the phase.
    let (dials, client) = bench(|client| client.max_connections_per_host(1));
    let busy = ask(&client, URL);
    let far = dials.want_dial().await.hold();
    let error = client.get(URL).timeout(SECOND).send().await.unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Some(Phase::Queue)));
    assert!(!error.is_connect());
    far.release();
    busy.answer().await;
}

/// A request beyond the limit of waiters is refused at once. A waiter that leaves lets another request wait. The waiters of
/// each host are counted separately.
#[tokio::test(start_paused = true)]
async fn rule_04_one_waiter_too_many_is_refused_at_once() {
    let (dials, client) = bench(|client| client.max_connections_per_host(1).max_waiters_per_host(3));
    let (far, first) = busy(&dials, &client, URL).await;
    let mut asked = ask_all(&client, 1..=4);
    let (refused, took) = asked.remove(3).outcome().await;
    let refused = refused.unwrap_err();
    assert_eq!((refused.kind(), took), (ErrorKind::PoolFull, Duration::ZERO));
    assert_eq!(
        refused.message(),
        "the queue for connections is full: 3 waiting (raise max_waiters_per_host)"
    );
    asked.remove(1).cancel().await;
    let late = ask(&client, &format!("{URL}late"));
    assert!(late.is_waiting().await);
    assert_eq!(ask(&client, URL).error().await.kind(), ErrorKind::PoolFull);
    let other = ask(&client, "http://b.test/");
    dials.want_dial().await.finish();
    assert_eq!(other.answer().await, 2);
    far.release();
    for asked in asked.into_iter().chain([first, late]) {
        assert_eq!(asked.answer().await, 1);
    }
    assert_eq!(dials.targets(), ["/", "/", "/1", "/3", "/late"]);
    assert_eq!((counts(&client), dials.begun()), ([2, 0, 0, 0], 2));
}

/// The error of a request that waited too long reports the state of the pool. The other requests continue to wait.
#[tokio::test(start_paused = true)]
async fn rule_04_an_acquire_timeout_tells_its_story() {
    let limits = |client: ClientBuilder| client.max_connections_per_host(2).acquire_timeout(5 * SECOND);
    let (dials, client) = bench(limits);
    let (far, first) = busy(&dials, &client, URL).await;
    let asked = ask(&client, URL);
    dials.want_dial().await.hang();
    tokio::time::sleep(SECOND).await;
    let later = ask(&client, URL);
    tokio::time::sleep(4 * SECOND).await;
    let (error, took) = asked.outcome().await;
    let error = error.unwrap_err();
    assert_eq!((error.kind(), took), (ErrorKind::PoolTimeout, 5 * SECOND));
    assert_eq!(
        error.chain().to_string(),
        "GET http://a.test: no connection became free within 5s: 1 active, 0 idle, 1 dialing, 2 waiting \
         (raise max_connections_per_host, or the acquire_timeout)"
    );
    far.release();
    assert_eq!((later.answer().await, first.answer().await), (1, 1));
    assert_eq!(counts(&client), [1, 0, 1, 0]);
}

/// The total limit keeps other hosts from dialing. If a connection is freed and no request waits for its host, the waiting
/// hosts may dial in turn.
#[tokio::test(start_paused = true)]
async fn rule_05_blocked_hosts_take_turns() {
    for ending in ["kept", "closed", "left"] {
        let (dials, client) = bench(|client| client.max_connections(4));
        let mut holders = Vec::new();
        for _ in 0..4 {
            holders.push(busy(&dials, &client, URL).await);
        }
        let mut asked = Vec::new();
        // The first host in the list has the most waiters, and its requests came first.
        for (host, waiters) in [("b", 5), ("c", 1), ("d", 2), ("e", 1)] {
            asked.extend((0..waiters).map(|_| ask(&client, &format!("http://{host}.test/"))));
        }
        dials.none_wanted().await;
        assert_eq!(counts(&client), [0, 4, 0, 9]);
        let mut order = Vec::new();
        let mut under_way = Vec::new();
        for (far, holder) in holders {
            match ending {
                "kept" => far.answer(),
                "closed" => far.answer_last(),
                _ => holder.cancel().await,
            }
            let dial = dials.want_dial().await;
            assert!(far.is_gone(), "{ending}: the dial gave way");
            order.push(dial.host.clone());
            under_way.push(dial);
            dials.none_wanted().await;
        }
        assert_eq!(order, ["b.test", "c.test", "d.test", "e.test"], "{ending}");
        // The requests that got a connection are answered, and the remaining requests get a connection as well.
        let mut turns = 0;
        while counts(&client)[3] > 0 || !under_way.is_empty() {
            under_way.drain(..).for_each(|dial| drop(dial.finish()));
            settle().await;
            under_way.extend(dials.unseen());
            turns += 1;
            assert!(turns < 20, "{ending}: {:?} hang", counts(&client));
        }
        for asked in asked {
            asked.answer().await;
        }
        assert_eq!(dials.total().peak, 4, "{ending}");
    }
}

/// No request waits for the host of the freed connection. The idle connection is closed, so that another host can dial.
#[tokio::test(start_paused = true)]
async fn rule_05_an_idle_connection_gives_way_to_another_host() {
    let (dials, client) = bench(|client| client.max_connections(3).max_connections_per_host(2));
    let fars = open(&dials, &client, 2).await;
    let (far, _holder) = busy(&dials, &client, "http://c.test/").await;
    let asked = [ask(&client, "http://b.test/"), ask(&client, "http://b.test/")];
    // Only as many connections as needed are closed. Connections that were idle longest are closed first.
    let under_way = dials.want_dials(2).await;
    assert!(fars.iter().all(Far::is_gone) && !far.is_gone());
    under_way.into_iter().for_each(|dial| drop(dial.finish()));
    for asked in asked {
        asked.answer().await;
    }
    assert_eq!((counts(&client), dials.total().peak), ([2, 1, 0, 0], 3));
    // For a host that is at its own limit, no connection of another host is closed, because the host could not dial.
    let (_one, _asked) = (ask(&client, "http://c.test/"), dials.want_dial().await.hold());
    let third = ask(&client, "http://c.test/");
    dials.none_wanted().await;
    assert!(third.is_waiting().await);
    assert_eq!(counts(&client), [1, 2, 0, 1]);
}

/// A hundred requests wait for a host that never answers, with eight dials at a time. The dials that time out first fail
/// all hundred requests, so that no request waits for several rounds of dials.
#[tokio::test(start_paused = true)]
async fn rule_11_a_hundred_at_a_black_hole_do_not_wait_thirteen_rounds() {
    let limits = |client: ClientBuilder| client.max_connections_per_host(8).connect_timeout(10 * SECOND);
    let (dials, client) = bench(|client| limits(client).acquire_timeout(1000 * SECOND));
    let asked = ask_all(&client, 0..100);
    dials.want_dials(8).await.into_iter().for_each(|dial| dial.hang());
    tokio::time::sleep(20 * SECOND).await;
    for asked in asked {
        let (outcome, took) = asked.outcome().await;
        assert_eq!((outcome.unwrap_err().kind(), took), (ErrorKind::Timeout, 10 * SECOND));
    }
    // The ninth dial replaced the first failed dial. The ninth dial is the probe of the failing host, and no
    // request waits for the probe.
    assert_eq!((dials.begun(), dials.total().peak), (9, 8));
    assert_eq!(counts(&client), [0; 4]);
}

/// A shutdown ends the dials of more hosts than the pool remembers, while a subscriber listens to the events.
#[tokio::test(start_paused = true)]
async fn a_shutdown_gives_up_the_dials_of_many_hosts() {
    let (dials, client) = bench(|client| client);
    let events = client.pool().subscribe();
    for round in 0..2 {
        let hosts = if round == 0 { 0..1_024 } else { 0..1_030 };
        let asked: Vec<_> =
            hosts.clone().map(|host| ask(&client, &format!("http://h{host}.test/"))).collect();
        let begun = dials.want_dials(hosts.len()).await;
        if round == 0 {
            begun.into_iter().for_each(|dial| dial.fail("no line"));
            for asked in asked {
                asked.error().await;
            }
        } else {
            begun.into_iter().for_each(|dial| dial.hang());
            client.pool().shutdown(Duration::ZERO).await;
            for asked in asked {
                assert_eq!(asked.error().await.kind(), ErrorKind::Shutdown);
            }
        }
    }
    assert_eq!(counts(&client), [0; 4]);
    drop(events);
}
