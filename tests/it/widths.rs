//! Tests of loads with a constant number of requests under way. A load opens as many connections as it has requests under
//! way, whether the requests belong to one task or to several tasks. A client keeps a connection to each of a thousand hosts.
//!
//! The connections are in memory and the time is paused, so that the results do not depend on the speed of the machine.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use futures_util::{StreamExt, stream};
use handclasp::{Client, ClientBuilder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::pipe::Pipe;

const WIDTHS: [usize; 7] = [1, 16, 32, 33, 64, 256, 1_000];

/// Returns a connection in memory. A task at the other end of the connection answers every request.
fn connect() -> Pipe {
    let (near, mut far) = Pipe::pair(4096);
    tokio::spawn(async move {
        let mut head = Vec::new();
        while far.read_buf(&mut head).await.is_ok_and(|read| read > 0) {
            if head.ends_with(b"\r\n\r\n") {
                head.clear();
                // The pause lets the other requests begin before this response.
                tokio::time::sleep(Duration::from_millis(1)).await;
                far.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
            }
        }
    });
    near
}

fn builder() -> ClientBuilder {
    Client::builder().connector(|_| async { Ok(connect().boxed()) })
}

async fn get(client: Client, url: String) {
    let response = client.get(url).send().await.unwrap();
    assert_eq!(response.text().await.unwrap(), "ok");
}

/// Returns the number of connections that were opened and the number of connections that were closed.
fn opened(client: &Client) -> (u64, u64) {
    let total = client.pool().stats().total;
    (total.opened, total.closed_total())
}

#[tokio::test(start_paused = true)]
async fn one_task_opens_as_many_connections_as_it_has_requests_in_flight() {
    for width in WIDTHS {
        let client = builder().build().unwrap();
        let requests = stream::iter(0..10 * width);
        let ask = |_| get(client.clone(), "http://h.test/".to_owned());
        requests.for_each_concurrent(width, ask).await;
        assert_eq!(opened(&client), (width as u64, 0), "in one task, {width} wide");
    }
}

#[tokio::test(start_paused = true)]
async fn many_tasks_open_as_many_connections_as_they_are() {
    for width in WIDTHS {
        let limits: [fn(ClientBuilder, usize) -> ClientBuilder; 5] = [
            |client, _| client,
            |client, width| client.max_connections_per_host(width),
            |client, width| client.max_connections(width),
            |client, width| client.max_connections_per_host(2 * width).max_connections(3 * width),
            // The pool also keeps connections beyond `max_idle` that were used in the last second.
            |client, _| client.max_idle(10),
        ];
        for (settings, limit) in limits.into_iter().enumerate() {
            let client = limit(builder(), width).build().unwrap();
            let tasks: Vec<_> = (0..width)
                .map(|_| {
                    let client = client.clone();
                    tokio::spawn(async move {
                        for _ in 0..10 {
                            get(client.clone(), "http://h.test/".to_owned()).await;
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            assert_eq!(
                opened(&client),
                (width as u64, 0),
                "in many tasks, {width} wide, settings {settings}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_hosts_keep_a_connection_each() {
    let client = builder().build().unwrap();
    for round in 0..3 {
        for host in 0..1_000 {
            get(client.clone(), format!("http://h{host}.test/")).await;
        }
        assert_eq!(opened(&client), (1_000, 0), "round {round}");
    }
}

/// After a burst of more requests than `max_idle`, the pool closes the idle connections beyond `max_idle` one second after
/// their last use.
#[tokio::test(start_paused = true)]
async fn what_is_too_many_goes_once_it_is_cold() {
    for (settings, room) in [(builder(), 1_024), (builder().max_connections(1_500), 1_500)] {
        let client = settings.build().unwrap();
        let width = 1_500;
        let ask = |_| get(client.clone(), "http://h.test/".to_owned());
        stream::iter(0..3 * width).for_each_concurrent(width, ask).await;
        assert_eq!(opened(&client), (width as u64, 0));
        tokio::time::sleep(Duration::from_millis(900)).await;
        assert_eq!(client.pool().stats().total.idle, width);
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(
            client.pool().stats().total.idle,
            room,
            "a limit on connections is also the room for idle connections"
        );
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert_eq!(client.pool().stats().total.idle, 0);
    }
}
