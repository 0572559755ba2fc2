//! Tests of the pool's rules with a client and scripted servers. `src/pool/policy/` has the tests of the policy alone.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use handclasp::{Client, DropReason, ErrorKind};

use crate::support::{Peer, Server, until, within};

async fn get(client: &Client, url: &str) -> handclasp::Result<(u64, String)> {
    let response = within(20, client.get(url).send()).await?;
    let id = response.connection().id();
    Ok((id, response.text().await?))
}

#[tokio::test]
async fn rule_01_other_tags_share_nothing() {
    let (server, client) = (Server::echo(), Client::new());
    let url = server.url("/");
    let fetch = async |tag: Option<&str>| {
        let mut request = client.get(&url);
        if let Some(tag) = tag {
            request = request.isolation(tag);
        }
        let response = within(20, request.send()).await.unwrap();
        let id = response.connection().id();
        response.text().await.unwrap();
        id
    };
    let ids = [fetch(None).await, fetch(Some("a")).await, fetch(Some("b")).await];
    assert_eq!(server.connections(), 3);
    assert_eq!(
        [fetch(None).await, fetch(Some("a")).await, fetch(Some("b")).await],
        ids,
        "each tag keeps its own connection"
    );
    let mut tags: Vec<_> = client.pool().stats().hosts.into_iter().map(|host| host.isolation).collect();
    tags.sort();
    assert_eq!(tags, [None, Some("a".into()), Some("b".into())]);
    assert_eq!(server.connections(), 3, "A-53");
}

/// With NTLM or Negotiate, the server treats the credentials of a request as those of the whole connection.
#[tokio::test]
async fn rule_02_a_connection_with_credentials_of_its_own_is_not_shared() {
    let (server, client) = (Server::echo(), Client::new());
    let url = server.url("/");
    for (scheme, tag, is_kept) in [
        ("Negotiate abc", None, false),
        ("ntlm abc", None, false),
        ("NTLM abc", Some("me"), true),
        ("Bearer abc", None, true),
    ] {
        let idle = client.pool().stats().total.idle;
        let mut request = client.get(&url).header("authorization", scheme);
        if let Some(tag) = tag {
            request = request.isolation(tag);
        }
        within(20, request.send()).await.unwrap().text().await.unwrap();
        let seen = server.seen().pop().unwrap();
        assert_eq!(seen.request.field("connection"), (!is_kept).then_some("close"), "{scheme}");
        assert_eq!(client.pool().stats().total.idle, idle + usize::from(is_kept), "{scheme}");
    }
    let (id, _) = get(&client, &url).await.unwrap();
    assert_eq!(id, 4, "the one of Bearer");
}

#[tokio::test]
async fn rule_04_an_acquire_timeout_tells_the_last_dial_error() {
    let dials = Arc::new(AtomicUsize::new(0));
    let counted = dials.clone();
    let client = Client::builder()
        .max_connections_per_host(1)
        .acquire_timeout(Duration::from_millis(50))
        .connector(move |_| {
            let nth = counted.fetch_add(1, Ordering::SeqCst);
            async move {
                if nth > 0 {
                    std::future::pending::<()>().await;
                }
                Err::<tokio::net::TcpStream, _>("the cable is cut".into())
            }
        })
        .build()
        .unwrap();
    let error = get(&client, "http://h.test/").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect);
    let error = get(&client, "http://h.test/").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PoolTimeout);
    let story = error.chain().to_string();
    assert!(story.contains("0 active, 0 idle, 1 dialing, 1 waiting"), "{story}");
    assert!(story.ends_with("the cable is cut"), "{story}");
}

/// If a waiting period is set, the third dial after two failures begins only when the period is over. A success ends the
/// period.
#[tokio::test]
async fn rule_13_a_failing_host_is_not_dialed_by_every_request() {
    let dials = Arc::new(AtomicUsize::new(0));
    let server = Server::echo();
    let (counted, address) = (dials.clone(), server.address());
    let is_up = Arc::new(AtomicUsize::new(0));
    let up = is_up.clone();
    let client = Client::builder()
        .connector(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            let is_up = up.load(Ordering::SeqCst) == 1;
            async move {
                if !is_up {
                    return Err("refused".into());
                }
                let tcp = tokio::net::TcpStream::connect(address).await?;
                Ok(Box::new(tcp) as Box<dyn handclasp::Transport>)
            }
        })
        .failing_host_backoff(Duration::from_secs(30))
        .build()
        .unwrap();
    let url = "http://h.test/";
    for dial in 1..=2 {
        let error = get(&client, url).await.unwrap_err();
        assert_eq!((error.kind(), dials.load(Ordering::SeqCst)), (ErrorKind::Connect, dial));
        assert_eq!((error.is_not_attempted(), error.retry_at()), (false, None));
    }
    // Many requests begin only few dials, because each failure doubles the waiting period.
    let mut told = 0;
    for _ in 0..1_000 {
        let error = get(&client, url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Connect);
        let story = error.chain().to_string();
        assert!(story.ends_with("refused"), "{story}");
        let is_told = story.starts_with("GET http://h.test: no connection was attempted: the last ");
        assert_eq!((error.is_not_attempted(), error.retry_at().is_some()), (is_told, is_told), "{story}");
        told += usize::from(is_told);
    }
    let dialed = dials.load(Ordering::SeqCst);
    assert_eq!(told + dialed - 2, 1_000, "each request failed at once, or began a dial");
    assert!(dialed < 50, "{dialed} dials");
    assert_eq!(client.pool().stats().total.failed_dials, dialed as u64);
    // After a change of network, the next dial begins at once.
    is_up.store(1, Ordering::SeqCst);
    client.pool().on_network_change();
    assert_eq!(get(&client, url).await.unwrap().1, "/");
    assert_eq!(dials.load(Ordering::SeqCst), dialed + 1);
}

/// Each response says how many more requests the server takes on the connection.
#[tokio::test]
async fn rule_15_a_server_that_takes_so_many_requests_gets_no_more() {
    let server = Server::start(|peer: &mut Peer| {
        let mut more = 3;
        while let Some(request) = peer.request()? {
            more -= 1;
            let said =
                if request.target == "/said" { format!("keep-alive: max={more}\r\n") } else { String::new() };
            peer.send(format!("HTTP/1.1 200 OK\r\n{said}content-length: 0\r\n\r\n"))?;
        }
        Ok(())
    });
    let client = Client::new();
    for path in ["/said", "/said", "/said", "/said", "/unsaid", "/unsaid"] {
        get(&client, &server.url(path)).await.unwrap();
    }
    assert_eq!(server.requests_per_connection(), [3, 3], "a limit that was announced once still holds");
    let total = client.pool().stats().total;
    assert_eq!((total.closed(DropReason::NotReusable), total.idle), (2, 0), "{total}");
}

#[tokio::test]
async fn rule_16_a_connection_that_is_too_old_is_replaced() {
    let server = Server::echo();
    let client = Client::builder().max_lifetime(Duration::from_millis(50)).build().unwrap();
    let (first, _) = get(&client, &server.url("/")).await.unwrap();
    until("the connection has reached its maximum lifetime", || {
        client.pool().stats().total.closed(DropReason::MaxLifetime) == 1
    })
    .await;
    let (second, _) = get(&client, &server.url("/")).await.unwrap();
    assert_ne!(first, second);
    // A connection in use continues until its response has ended, and is then closed.
    let response = within(20, client.get(server.url("/")).send()).await.unwrap();
    response.text().await.unwrap();
}

#[tokio::test]
async fn rule_19_another_network_means_other_connections() {
    let (server, client) = (Server::echo(), Client::new());
    let url = server.url("/");
    get(&client, &url).await.unwrap();
    // One connection is idle, and the other connection has a response that is not read yet.
    let large = Server::start(|peer: &mut Peer| {
        while peer.request()?.is_some() {
            peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", 1 << 20))?;
            peer.send(vec![b'x'; 1 << 20])?;
        }
        Ok(())
    });
    let response = within(20, client.get(large.url("/")).send()).await.unwrap();
    client.pool().on_network_change();
    let total = client.pool().stats().total;
    assert_eq!((total.idle, total.active, total.closed(DropReason::NetworkChanged)), (0, 1, 1), "{total}");
    assert_eq!(
        response.bytes().await.unwrap().len(),
        1 << 20,
        "a response that is being read is not cut short"
    );
    let total = client.pool().stats().total;
    assert_eq!((total.idle, total.closed(DropReason::NetworkChanged)), (0, 2), "{total}");
    get(&client, &url).await.unwrap();
    assert_eq!((server.connections(), client.pool().stats().total.idle), (2, 1));
}

#[tokio::test]
async fn close_idle_closes_what_is_idle() {
    let (server, client) = (Server::echo(), Client::new());
    get(&client, &server.url("/")).await.unwrap();
    client.pool().close_idle();
    let total = client.pool().stats().total;
    assert_eq!((total.idle, total.closed(DropReason::Shutdown)), (0, 1), "{total}");
    get(&client, &server.url("/")).await.unwrap();
    assert_eq!(server.connections(), 2);
}

/// A server closed three connections after one response each. From then on each request has a connection of its own, and no
/// request is sent again.
#[tokio::test]
async fn rule_28_a_server_that_closes_after_each_response_is_not_kept() {
    let server = Server::start(|peer: &mut Peer| {
        if let Some(request) = peer.request()? {
            peer.respond(&request.target)?;
        }
        peer.close()
    });
    let client = Client::new();
    let closed = |reason| client.pool().stats().total.closed(reason);
    for round in 0..200u32 {
        assert_eq!(get(&client, &server.url("/")).await.unwrap().1, "/", "round {round}");
    }
    assert_eq!((closed(DropReason::PeerClosed), closed(DropReason::NotKept)), (3, 197));
    assert_eq!(server.requests_per_connection(), vec![1; 200]);
}

/// Dropping and printing a connector's error runs the caller's code. This code does not run under the pool's lock, even
/// where the pool stores the error.
#[test]
fn rule_13_a_remembered_failure_holds_nothing_of_the_callers() {
    #[derive(Debug)]
    struct Nosy(Arc<std::sync::OnceLock<Client>>, Arc<AtomicUsize>);
    impl Nosy {
        fn ask(&self) {
            assert_eq!(self.0.get().unwrap().pool().stats().total.idle, 0);
        }
    }
    impl std::fmt::Display for Nosy {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            self.ask();
            f.write_str("the cable is cut")
        }
    }
    impl std::error::Error for Nosy {}
    impl Drop for Nosy {
        fn drop(&mut self) {
            self.ask();
            self.1.fetch_add(1, Ordering::SeqCst);
        }
    }

    // The work runs on a thread of its own, because a tokio timeout could not end a deadlock on the pool's lock.
    let (done, is_done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (it, dropped) = (Arc::new(std::sync::OnceLock::new()), Arc::new(AtomicUsize::new(0)));
            let (itself, count) = (it.clone(), dropped.clone());
            let client = Client::builder().connector(move |_| {
                let error = Nosy(itself.clone(), count.clone());
                async move { Err::<tokio::net::TcpStream, _>(error.into()) }
            });
            let client = it.get_or_init(|| client.build().unwrap());
            for _ in 0..20 {
                let error = get(client, "http://h.test/").await.unwrap_err();
                assert!(error.chain().to_string().ends_with("the cable is cut"));
            }
            client.pool().on_network_change();
            let dials = client.pool().stats().total.failed_dials as usize;
            assert_eq!(
                (dials >= 2, dropped.load(Ordering::SeqCst)),
                (true, dials),
                "the pool keeps no error of the connector"
            );
        });
        done.send(()).unwrap();
    });
    is_done.recv_timeout(Duration::from_secs(20)).expect("no code of the caller runs under the lock");
}
