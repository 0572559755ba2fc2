//! Whether a request whose first packet also acknowledges the handshake is slower in any case: over a link of 50 ms,
//! with and without loss, small and large responses, a server that speaks first, and a request that is dropped.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Mutex;
use std::task::Poll;

use super::*;
use crate::support::until;

/// Times of one way of sending, in the order of the requests.
#[derive(Default)]
struct Times {
    first_byte: Vec<Duration>,
    total: Vec<Duration>,
}

/// Returns the median, the mean and the 90th percentile as text.
fn shown(times: &mut [Duration]) -> String {
    times.sort();
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let mean = times.iter().sum::<Duration>() / times.len() as u32;
    let (median, late) = (times[times.len() / 2], times[times.len() * 9 / 10]);
    format!("{:.1} / {:.1} / {:.1}", ms(median), ms(mean), ms(late))
}

fn client(is_together: bool) -> Client {
    builder().request_on_ack(is_together).build().unwrap()
}

/// Sends requests on new connections, with and without the setting in turn.
async fn measure(url: &str, requests: usize) -> [Times; 2] {
    let mut times = [Times::default(), Times::default()];
    for at in 0..2 * requests {
        let client = client(at % 2 == 1);
        let begun = Instant::now();
        let response = client.get(url).send().await.unwrap();
        times[at % 2].first_byte.push(begun.elapsed());
        response.bytes().await.unwrap();
        times[at % 2].total.push(begun.elapsed());
    }
    times
}

fn print(what: &str, lost: u64, [mut without, mut with]: [Times; 2]) {
    let rows = [
        ("first byte", &mut without.first_byte, &mut with.first_byte),
        ("total", &mut without.total, &mut with.total),
    ];
    for (until, without, with) in rows {
        println!("| {what}, {lost} % lost | {until} | {} | {} |", shown(without), shown(with));
        if lost == 0 {
            let (median, other) = (without[without.len() / 2], with[with.len() / 2]);
            assert!(other < median * 21 / 20, "{what}: {median:?} without the setting, {other:?} with it");
        }
    }
}

/// Answers each request with 1 MiB if its target says so, and with a few bytes if not.
fn by_size(peer: &mut Peer) -> io::Result<()> {
    let large = "x".repeat(1 << 20);
    while let Some(request) = peer.request()? {
        peer.respond(if request.target == "/large" { &large } else { "small" })?;
    }
    Ok(())
}

/// Requests that are dropped while their connection is made, with and without the setting in turn. Returns the times
/// from each request's start until the server had the connection, and until a later request on that connection was
/// answered.
async fn measure_dropped(requests: usize) -> [Times; 2] {
    let accepted = Arc::new(Mutex::new(None));
    let noted = accepted.clone();
    let server = Server::start_at(HERE, move |peer| {
        *noted.lock().unwrap() = Some(Instant::now());
        echo(peer)
    });
    let url = url(&server, 0);
    let mut times = [Times::default(), Times::default()];
    for at in 0..2 * requests {
        let client = client(at % 2 == 1);
        *accepted.lock().unwrap() = None;
        let begun = Instant::now();
        {
            let mut sending = pin!(client.get(&url).send());
            poll_fn(|cx| {
                assert!(sending.as_mut().poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
        }
        until("the server has the connection", || accepted.lock().unwrap().is_some()).await;
        times[at % 2].first_byte.push(accepted.lock().unwrap().unwrap() - begun);
        let response = client.get(&url).send().await.unwrap();
        assert_eq!(response.text().await.unwrap(), "/0");
        times[at % 2].total.push(begun.elapsed());
    }
    times
}

#[test]
fn nothing_is_slower_if_the_request_carries_the_acknowledgment() {
    if !is_inside("request_on_ack::nothing_is_slower_if_the_request_carries_the_acknowledgment") {
        return;
    }
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    println!(
        "| over 50 ms, median / mean / 90th percentile in ms | until | without request_on_ack | with request_on_ack |"
    );
    println!("|---|---|---|---|");
    for lost in [0, 2] {
        let _link = Link::lossy(50, 0, lost);
        let server = Server::start_at(HERE, by_size);
        let base = url(&server, 0).trim_end_matches('0').to_owned();
        let (small, large) = if lost == 0 { (20, 30) } else { (300, 20) };
        print("small response", lost, runtime.block_on(measure(&format!("{base}small"), small)));
        print("1 MiB response", lost, runtime.block_on(measure(&format!("{base}large"), large)));
        let first = Server::start_at(HERE, |peer| {
            peer.send("HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")?;
            peer.drain()
        });
        print("a server that speaks first", lost, runtime.block_on(measure(&url(&first, 0), small / 3)));
        print("a request that is dropped", lost, runtime.block_on(measure_dropped(small / 3)));
    }
}
