//! Tests of connections that `Client::warm` and `Client::min_idle` dial ahead of requests: rule 14 of the pool.

use handclasp::ClientBuilder;

use super::{SECOND, URL, ask_all, bench, busy};
use crate::support::dials::{ask, counts, settle};

/// A request takes the slot of a dial ahead to another host. The request waits only for the handshake of its own dial.
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
    // The host of the dial ahead counts as another host under another isolation tag.
    let request = client.get(URL).isolation("tenant").send();
    let asked = tokio::spawn(async move { request.await.unwrap().bytes().await });
    dials.want_dial().await.finish();
    asked.await.unwrap().unwrap();
    dials.none_wanted().await;
    assert_eq!(dials.begun(), 4);
    // No connection is evicted for a dial ahead, however long that dial has to wait.
    tokio::time::sleep(20 * SECOND).await;
    dials.none_wanted().await;
}

/// A dial ahead to a host that does not answer is given up as soon as a request needs the slot of the dial.
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
    // `warm` succeeds without a dial, because the limit leaves no room.
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
    // Each row has a limit of the host, a limit of all hosts, or both. A connection of another host is in use or
    // idle.
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
        // A second `warm` dials no connections, because enough connections exist. Requests use these connections.
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

/// A request that comes during a dial ahead waits for that dial, and begins no dial of its own. `warm` returns the error of
/// a failed dial. If the future of `warm` is dropped, the dials continue.
#[tokio::test(start_paused = true)]
async fn rule_14_who_asks_meanwhile_gets_what_is_dialed_ahead() {
    let (dials, client) = bench(|client| client);
    let warm = tokio::spawn({
        let client = client.clone();
        async move { client.warm(URL, 3).await }
    });
    let mut under_way = dials.want_dials(3).await;
    // Dials that are under way for a request count towards the number of `warm`, and `warm` does not wait for these dials.
    client.warm(URL, 3).await.unwrap();
    let asked = ask_all(&client, 0..2);
    dials.none_wanted().await;
    assert_eq!(counts(&client), [0, 0, 3, 2]);
    under_way.remove(2).finish();
    assert_eq!(asked.into_iter().next().unwrap().answer().await, 3);
    under_way.remove(0).fail("no line");
    dials.none_wanted().await;
    assert!(!warm.is_finished(), "a dial is still under way");
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
    assert_eq!(counts(&client), [3, 0, 0, 0], "the other dials went on");
}

/// A host was failing and answers again. The connections that were dialed ahead are kept, and each request beyond them has
/// a dial of its own.
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
