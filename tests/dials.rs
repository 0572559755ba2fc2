//! Who waits, who dials, and who gets what: the pool's rules 3 to 14, as scripts of dials in paused time.
//!
//! Every dial waits to be told how it ends, and every connection may be held busy, so that each order of events is one
//! that the test chose. (The policy alone: in `src/pool/policy/`; over sockets: `tests/burst.rs`.)

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/dials.rs"]
mod dials;

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use dials::{Asked, Dial, Dials, Far, ask, counts, settle};
use handclasp::{Client, ClientBuilder, DropReason, ErrorKind, Phase};
use tokio::time::Instant;

const URL: &str = "http://a.test/";

const SECOND: Duration = Duration::from_secs(1);

fn bench(settings: impl FnOnce(ClientBuilder) -> ClientBuilder) -> (Dials, Client) {
    let dials = Dials::default();
    let client = settings(dials.builder()).build().unwrap();
    (dials, client)
}

/// `/1`, `/2` and so on, of host a.
fn ask_all(client: &Client, numbers: impl IntoIterator<Item = usize>) -> Vec<Asked> {
    numbers.into_iter().map(|number| ask(client, &format!("{URL}{number}"))).collect()
}

/// A connection that carries a request and does not answer it; and that request.
async fn busy(dials: &Dials, client: &Client, url: &str) -> (Far, Asked) {
    let asked = ask(client, url);
    let far = dials.want_dial().await.hold();
    settle().await;
    assert_eq!(far.asked().len(), 1);
    (far, asked)
}

/// So many idle connections.
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

/// A connection that is freed belongs to the oldest waiter from that moment on: who frees it and asks again in the same
/// breath stands behind all others.
#[tokio::test(start_paused = true)]
async fn rule_06_a_freed_connection_is_handed_to_the_oldest_waiter() {
    let (dials, client) = bench(|client| client.max_connections_per_host(1));
    let greedy = client.clone();
    let greedy = tokio::spawn(async move {
        for round in 0..3 {
            let response = greedy.get(format!("{URL}greedy-{round}")).send().await.unwrap();
            // Its content came with the head: nothing is awaited between the end of this one and the next.
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

/// What happens to the connection that a waiter waits for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    Dialed,
    DialFailed,
    Freed,
    Closed,
}

/// The oldest waiter is polled n times and dropped; what it waits for comes before one of the polls, or before the drop:
/// it may have been handed over unseen. Whatever the moment, the waiter behind it gets a connection, the same one where
/// nothing was sent on it.
#[test]
fn rule_07_a_waiter_that_is_dropped_at_any_poll_loses_nothing() {
    let mut drops = 0;
    for event in [Event::Dialed, Event::DialFailed, Event::Freed, Event::Closed] {
        for at in 1..4 {
            for polls in 1.. {
                assert!(polls < 100, "it does not end");
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

/// Whether the request was answered or failed within so many polls.
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
    // A request that was under way took its connection along.
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

/// However a dial ends, its slot, the only one, is free again.
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

/// The connector panics before there is anything to wait for.
#[tokio::test(start_paused = true)]
async fn rule_08_a_connector_that_panics_when_called_frees_the_slot() {
    let dials = Dials::default();
    let (calls, connector) = (AtomicUsize::new(0), dials.connector());
    let client = Client::builder().max_connections(1).connector(move |to| {
        assert!(calls.fetch_add(1, Ordering::SeqCst) > 0, "the first call panics, as the test wants it");
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
    assert_eq!(counts(&client), [0, 1, 1, 0], "the second has the first's connection");
    far.answer();
    assert_eq!(second.answer().await, 1);
    // The dial that lost its waiter goes on.
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

/// A dial that lost its waiter to a freed connection serves the next one, who begins none.
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

/// Dials and freed connections in any order: the oldest waiter is served by whatever comes next.
#[tokio::test(start_paused = true)]
async fn rule_09_waiters_are_served_in_order_by_whatever_comes() {
    let (dials, client) = bench(|client| client);
    let (far, first) = busy(&dials, &client, &format!("{URL}0")).await;
    let asked = ask_all(&client, 1..=4);
    let mut under_way = dials.want_dials(4).await;
    let mut fars = vec![far];
    for at in [2, 0] {
        // Not the oldest one's own dial.
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
    // The oldest fails with its dial: the five others have five dials.
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

/// Who left before there was room for a dial begins none when there is.
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
    // Never polled, it was never in the queue.
    drop(client.get(URL).send());
    assert_eq!(counts(&client), [0, 2, 0, 0]);
    one.answer_last();
    other.answer_last();
    first.answer().await;
    second.answer().await;
    dials.none_wanted().await;
    assert_eq!((dials.begun(), counts(&client)), (2, [0; 4]));
}

/// Each failed dial of an attempt fails the oldest who waits, and is replaced for who is left.
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
    // A success in between: what fails next is the first in a row again.
    let far = under_way.remove(0).hold();
    settle().await;
    under_way.remove(0).fail("no line");
    assert_eq!(asked.remove(1).error().await.kind(), ErrorKind::Connect);
    let last = dials.want_dial().await;
    far.release();
    assert_eq!(asked.remove(0).answer().await, 2);
    assert_eq!(asked.remove(0).answer().await, 2, "freed before the dial was done");
    last.finish();
    dials.none_wanted().await;
    assert_eq!((counts(&client), dials.begun()), ([2, 0, 0, 0], 4));
}

/// A dial that fails while another is under way for whoever is left.
#[tokio::test(start_paused = true)]
async fn rule_11_who_has_another_dial_in_sight_is_not_failed() {
    let (dials, client) = bench(|client| client);
    let [left, stays] = [ask(&client, URL), ask(&client, URL)];
    let mut under_way = dials.want_dials(2).await;
    left.cancel().await;
    under_way.remove(1).fail("no line");
    dials.none_wanted().await;
    assert!(stays.is_waiting().await, "there is a dial for it");
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

/// No limit leaves room for it: it is closed, for whoever is held back, or because none is kept.
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

/// Two dials that fail, and then one at a time, whose outcome everybody shares who comes meanwhile.
#[tokio::test(start_paused = true)]
async fn rule_13_a_failing_host_has_one_dial_at_a_time() {
    let (dials, client) = bench(|client| client);
    for _ in 0..2 {
        let asked = ask(&client, URL);
        dials.want_dial().await.fail("no line");
        assert_eq!(asked.error().await.kind(), ErrorKind::Connect);
    }
    for round in 0..5 {
        // No pause lies between two dials.
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
            // All is forgiven: as many dials as requests.
            let far = dial.hold();
            dials.want_dials(9).await.into_iter().for_each(|dial| drop(dial.finish()));
            far.release();
            for asked in asked {
                asked.answer().await;
            }
        }
    }
}

/// A loop of four tries that are 100 ms apart dials four times.
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

/// The second request waits for the dial that the first one began, and says so when its time is over.
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
    // Where a connection of the host is in use, it is the queue that takes the time.
    let (dials, client) = bench(|client| client.max_connections_per_host(1));
    let busy = ask(&client, URL);
    let far = dials.want_dial().await.hold();
    let error = client.get(URL).timeout(SECOND).send().await.unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Some(Phase::Queue)));
    assert!(!error.is_connect());
    far.release();
    busy.answer().await;
}

/// One handshake after its own for a request whose room was being dialed ahead for another host.
#[tokio::test(start_paused = true)]
async fn rule_14_a_request_takes_the_room_of_what_is_to_be_idle() {
    let (dials, client) = bench(|client| client.max_connections(1));
    client.min_idle(URL, 1).unwrap();
    dials.want_dial().await.finish();
    settle().await;
    assert_eq!(counts(&client), [1, 0, 0, 0]);
    for other in ["http://b.test/", "http://c.test/"] {
        let asked = ask(&client, other);
        let dial = dials.want_dial().await;
        assert_eq!(format!("http://{}/", dial.host), other);
        dial.finish();
        asked.answer().await;
    }
    // The same host under another tag is another host.
    let request = client.get(URL).isolation("tenant").send();
    let asked = tokio::spawn(async move { request.await.unwrap().bytes().await });
    dials.want_dial().await.finish();
    asked.await.unwrap().unwrap();
    dials.none_wanted().await;
    assert_eq!(dials.begun(), 4);
    // Nothing is evicted for what is to be idle, however long it waits.
    tokio::time::sleep(20 * SECOND).await;
    dials.none_wanted().await;
}

/// A dial ahead to a host that does not answer is given up as soon as a request wants its room.
#[tokio::test(start_paused = true)]
async fn rule_14_a_dial_ahead_to_a_black_hole_gives_way_at_once() {
    let (dials, client) = bench(|client| client.max_connections(1));
    client.min_idle(URL, 1).unwrap();
    let hole = dials.want_dial().await;
    hole.hang();
    let asked = ask(&client, "http://b.test/");
    let (_, took) = {
        dials.want_dial().await.finish();
        asked.outcome().await
    };
    assert!(took < SECOND, "{took:?}");
    assert_eq!((dials.begun(), dials.total().peak), (2, 1));
    // `warm` ends well: the limit leaves no room.
    let (dials, client) = bench(|client| client.max_connections(1));
    let warmed = tokio::spawn({
        let client = client.clone();
        async move { client.warm(URL, 1).await }
    });
    dials.want_dial().await.hang();
    let asked = ask(&client, "http://b.test/");
    dials.want_dial().await.finish();
    asked.answer().await;
    warmed.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn rule_14_dialing_ahead_keeps_to_every_limit() {
    // Of the host, of all, and both; with a connection of another host's that is used, or is not.
    for (of_host, of_all, expected) in
        [(3, usize::MAX, 3), (usize::MAX, 3, 2), (2, 3, 2), (3, 2, 1), (usize::MAX, usize::MAX, 5)]
    {
        let limits = |client: ClientBuilder| client.max_connections_per_host(of_host).max_connections(of_all);
        let (dials, client) = bench(limits);
        let (_far, _asked) = busy(&dials, &client, "http://b.test/").await;
        let warm = tokio::spawn({
            let client = client.clone();
            async move { client.warm(URL, 5).await }
        });
        let under_way = dials.want_dials(expected).await;
        assert!(!warm.is_finished());
        assert_eq!(counts(&client), [0, 1, expected, 0]);
        under_way.into_iter().for_each(|dial| drop(dial.finish()));
        dials.none_wanted().await;
        warm.await.unwrap().unwrap();
        assert_eq!(counts(&client), [expected, 1, 0, 0]);
        assert!(dials.total().peak <= of_all && dials.counts("a.test").peak <= of_host);
        // They are there: no more are dialed, and those who ask find them.
        let again = client.warm(URL, expected);
        again.await.unwrap();
        let asked = ask_all(&client, 0..expected);
        dials.none_wanted().await;
        for asked in asked {
            asked.answer().await;
        }
        assert_eq!(dials.begun(), expected + 1);
    }
}

/// What is dialed ahead is anyone's: who asks meanwhile waits for it, and begins no dial of its own. A failure is told to
/// who dials ahead; whoever left leaves the dials to themselves.
#[tokio::test(start_paused = true)]
async fn rule_14_who_asks_meanwhile_gets_what_is_dialed_ahead() {
    let (dials, client) = bench(|client| client);
    let warm = tokio::spawn({
        let client = client.clone();
        async move { client.warm(URL, 3).await }
    });
    let mut under_way = dials.want_dials(3).await;
    // What is being dialed is counted, and is not this one's to wait for.
    client.warm(URL, 3).await.unwrap();
    let asked = ask_all(&client, 0..2);
    dials.none_wanted().await;
    assert_eq!(counts(&client), [0, 0, 3, 2]);
    under_way.remove(2).finish();
    assert_eq!(asked.into_iter().next().unwrap().answer().await, 3);
    under_way.remove(0).fail("no line");
    dials.none_wanted().await;
    assert!(!warm.is_finished(), "one is still under way");
    warm.abort();
    settle().await;
    under_way.remove(0).finish();
    dials.none_wanted().await;
    assert_eq!(counts(&client), [2, 0, 0, 0]);

    let warm = tokio::spawn({
        let client = client.clone();
        async move { client.warm(URL, 4).await }
    });
    let mut under_way = dials.want_dials(2).await;
    under_way.remove(0).fail("no line");
    under_way.remove(0).finish();
    settle().await;
    let error = warm.await.unwrap().unwrap_err();
    assert!(error.chain().to_string().ends_with("no line"), "{}", error.chain());
    assert_eq!(counts(&client), [3, 0, 0, 0], "the others went on");
}

/// One more than may wait is refused at once; whoever leaves makes room, and another host's queue is its own.
#[tokio::test(start_paused = true)]
async fn rule_04_one_waiter_too_many_is_refused_at_once() {
    let (dials, client) = bench(|client| client.max_connections_per_host(1).max_waiters_per_host(3));
    let (far, first) = busy(&dials, &client, URL).await;
    let mut asked = ask_all(&client, 1..=4);
    let (refused, took) = asked.remove(3).outcome().await;
    let refused = refused.unwrap_err();
    assert_eq!((refused.kind(), took), (ErrorKind::PoolFull, Duration::ZERO));
    assert_eq!(refused.to_string(), "3 requests are already waiting for a connection to http://a.test");
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

/// Whoever waits too long is told what the pool was doing meanwhile, each at its own time; the others go on waiting.
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
        "no connection to http://a.test became free within 5s: 1 active, 0 idle, 1 dialing, 2 waiting \
         (raise max_connections_per_host, or the acquire_timeout)"
    );
    far.release();
    assert_eq!((later.answer().await, first.answer().await), (1, 1));
    assert_eq!(counts(&client), [1, 0, 1, 0]);
}

/// The total limit holds other hosts back; what becomes free, and is not wanted where it is, lets them dial, one each in
/// turn.
#[tokio::test(start_paused = true)]
async fn rule_05_blocked_hosts_take_turns() {
    for ending in ["kept", "closed", "left"] {
        let (dials, client) = bench(|client| client.max_connections(4));
        let mut holders = Vec::new();
        for _ in 0..4 {
            holders.push(busy(&dials, &client, URL).await);
        }
        let mut asked = Vec::new();
        // The first host has most who wait, and was first.
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
            assert!(far.is_gone(), "{ending}: it gave way");
            order.push(dial.host.clone());
            under_way.push(dial);
            dials.none_wanted().await;
        }
        assert_eq!(order, ["b.test", "c.test", "d.test", "e.test"], "{ending}");
        // Those who are served go on; all others are, too.
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

/// The freed connection's own host has nobody who waits: its idle connection does not stand in another's way.
#[tokio::test(start_paused = true)]
async fn rule_05_an_idle_connection_gives_way_to_another_host() {
    let (dials, client) = bench(|client| client.max_connections(3).max_connections_per_host(2));
    let fars = open(&dials, &client, 2).await;
    let (far, _holder) = busy(&dials, &client, "http://c.test/").await;
    let asked = [ask(&client, "http://b.test/"), ask(&client, "http://b.test/")];
    // As many give way as are needed, and the one idle for longest first.
    let under_way = dials.want_dials(2).await;
    assert!(fars.iter().all(Far::is_gone) && !far.is_gone());
    under_way.into_iter().for_each(|dial| drop(dial.finish()));
    for asked in asked {
        asked.answer().await;
    }
    assert_eq!((counts(&client), dials.total().peak), ([2, 1, 0, 0], 3));
    // A host at its own limit does not take from others what it could not use.
    let (_one, _asked) = (ask(&client, "http://c.test/"), dials.want_dial().await.hold());
    let third = ask(&client, "http://c.test/");
    dials.none_wanted().await;
    assert!(third.is_waiting().await);
    assert_eq!(counts(&client), [1, 2, 0, 1]);
}

/// A hundred wait at a host that never answers, eight dials at a time. The first dial to time out tells them all, and nobody
/// waits for rounds of dials.
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
    // One took the place of the first that failed: the probe, for which nobody waits.
    assert_eq!((dials.begun(), dials.total().peak), (9, 8));
    assert_eq!(counts(&client), [0; 4]);
}

/// Whatever happens in whatever order, there are never more connections and dials than the limits say, not for a moment:
/// the far ends count. And what the pool says that there is, is what there is.
///
/// `SEED=n cargo test --test dials` repeats one script alone. With `HANDCLASP_LONG` there are fifty times as many.
#[test]
fn rule_03_limits_hold_at_every_moment() {
    let own = std::env::var("SEED").ok().map(|seed| seed.parse::<u64>().expect("SEED is a number"));
    let scripts = if std::env::var_os("HANDCLASP_LONG").is_some() { 50 * SCRIPTS } else { SCRIPTS };
    let mut most = 0;
    for seed in own.map_or(0..scripts, |seed| seed..seed + 1) {
        let script = std::panic::AssertUnwindSafe(|| paused(Script::new(seed).run()));
        most = most.max(std::panic::catch_unwind(script).unwrap_or_else(|panic| {
            println!("it failed with SEED={seed}");
            std::panic::resume_unwind(panic)
        }));
    }
    assert!(own.is_some() || most == 5, "the highest limit was reached");
}

/// What a script by chance has under way.
struct Script {
    dials: Dials,
    client: Client,
    of_host: usize,
    of_all: usize,
    idle_of_host: usize,
    random: u64,
    asked: Vec<Asked>,
    under_way: Vec<Dial>,
    fars: Vec<Far>,
}

impl Script {
    fn new(seed: u64) -> Self {
        let dials = Dials::default();
        let [of_host, of_all, idle_of_host] =
            [1 + seed as usize % 3, 1 + seed as usize / 3 % 5, 1 + seed as usize % 2];
        let client = dials
            .builder()
            .max_connections_per_host(of_host)
            .max_connections(of_all)
            .max_idle_per_host(idle_of_host)
            .max_waiters_per_host(WAITERS)
            .max_lifetime(90 * SECOND)
            .build()
            .unwrap();
        let random = seed.wrapping_mul(0x2545_f491_4f6c_dd1d);
        let (asked, under_way, fars) = Default::default();
        Self { dials, client, of_host, of_all, idle_of_host, random, asked, under_way, fars }
    }

    /// The most connections and dials that there were.
    async fn run(mut self) -> usize {
        for _ in 0..STEPS {
            self.step().await;
            // Now and then several things happen at once.
            if self.below(4) > 0 {
                settle().await;
                self.check();
            }
        }
        // Nobody is left behind: everything that is waited for comes to its end.
        for round in 0.. {
            assert!(round < 100, "{} requests hang: {:?}", self.asked.len(), counts(&self.client));
            self.under_way.drain(..).for_each(|dial| drop(dial.finish()));
            self.fars.iter().for_each(Far::release);
            settle().await;
            self.check();
            self.asked.retain(|asked| !asked.is_over());
            if self.asked.is_empty() && self.under_way.is_empty() {
                break;
            }
        }
        let [_, active, dialing, waiting] = counts(&self.client);
        assert_eq!((active, dialing, waiting), (0, 0, 0));
        drop(self.client);
        settle().await;
        let total = self.dials.total();
        assert_eq!((total.live, total.dialing), (0, 0), "the client is gone");
        total.peak
    }

    async fn step(&mut self) {
        let host = HOSTS[self.below(3)];
        let url = format!("http://{host}/");
        match self.below(16) {
            0..5 => self.asked.push(ask(&self.client, &url)),
            5 => {
                if let Some(asked) = self.pick(|script| &mut script.asked) {
                    asked.abort();
                }
            }
            6..9 => {
                if let Some(dial) = self.pick(|script| &mut script.under_way) {
                    let far = if self.below(2) == 0 { dial.finish() } else { dial.hold() };
                    self.fars.push(far);
                }
            }
            9 => {
                if let Some(dial) = self.pick(|script| &mut script.under_way) {
                    dial.fail("no line");
                }
            }
            10..14 => {
                if let Some(far) = self.pick(|script| &mut script.fars) {
                    match self.below(4) {
                        0 => far.hang_up(),
                        _ if far.asked().is_empty() => {}
                        1 => far.answer_last(),
                        _ => far.answer(),
                    }
                    self.fars.push(far);
                }
            }
            14 => {
                let (client, wanted) = (self.client.clone(), 1 + self.below(3));
                tokio::spawn(async move { client.warm(url, wanted).await });
            }
            _ => match self.below(4) {
                0 => self.client.pool().close_idle(),
                1 => self.client.pool().on_network_change(),
                // Past the connect timeout, or past the idle timeout.
                2 => tokio::time::sleep(11 * SECOND).await,
                _ => tokio::time::sleep(61 * SECOND).await,
            },
        }
    }

    fn check(&mut self) {
        self.under_way.extend(self.dials.unseen());
        self.under_way.retain(Dial::is_under_way);
        self.fars.retain(|far| !far.is_gone());
        let stats = self.client.pool().stats();
        let total = self.dials.total();
        assert!(total.peak <= self.of_all, "{total:?}");
        let told = &stats.total;
        let counted = (told.idle + told.active, told.dialing);
        assert_eq!(counted, (total.live, total.dialing), "the pool knows what there is: {told}");
        for host in &stats.hosts {
            let there = self.dials.counts(host.origin.trim_start_matches("http://"));
            assert_eq!((host.idle + host.active, host.dialing), (there.live, there.dialing), "{host}");
            assert!(there.peak <= self.of_host, "{host}: {there:?}");
            // (A request whose connection died under it, or was found dead, is not refused its place.)
            assert!(host.idle <= self.idle_of_host && host.waiting <= WAITERS + self.of_host, "{host}");
        }
    }

    fn pick<T>(&mut self, from: impl Fn(&mut Self) -> &mut Vec<T>) -> Option<T> {
        let count = from(self).len();
        (count > 0).then(|| {
            let at = self.below(count);
            from(self).swap_remove(at)
        })
    }

    /// splitmix64.
    fn below(&mut self, bound: usize) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}

const SCRIPTS: u64 = 100;

const STEPS: usize = 400;

const HOSTS: [&str; 3] = ["a.test", "b.test", "c.test"];

const WAITERS: usize = 6;

/// More hosts than are remembered, each with a dial under way, and somebody who listens.
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

/// A host was failing and is back: what was dialed ahead is kept, and every other request has a dial of its own.
#[tokio::test(start_paused = true)]
async fn what_was_dialed_ahead_is_not_closed_where_there_is_room() {
    let (dials, client) = bench(|client| client);
    for _ in 0..2 {
        let asked = ask(&client, URL);
        dials.want_dial().await.fail("no line");
        asked.error().await;
    }
    let asked = ask_all(&client, 0..3);
    dials.want_dial().await.finish();
    dials.want_dials(2).await.into_iter().for_each(|dial| drop(dial.finish()));
    for asked in asked {
        asked.answer().await;
    }
    assert_eq!(client.pool().stats().total.closed_total(), 0);
}
