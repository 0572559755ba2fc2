//! Tests of the options of TCP sockets on Linux: an option that the system accepts is used, and an option that decides
//! which network the bytes take is never left out.
#![allow(missing_docs, clippy::unwrap_used)]

use handclasp::{Client, ClientBuilder, ErrorKind, Phase, Written};

use crate::support::{Server, within};

fn builder() -> ClientBuilder {
    Client::builder()
}

async fn fetch(client: &Client, server: &Server) -> handclasp::Result<String> {
    within(20, client.get(server.url("/x")).send()).await?.text().await
}

/// Returns whether a request was answered. If it was not, checks that the error names the option, and that nothing
/// reached the server.
async fn is_answered(builder: ClientBuilder, option: &str, name: &str) -> bool {
    let server = Server::echo();
    // The name has two addresses, of which neither is to blame.
    let addresses = [server.address(), ([127, 0, 0, 2], server.address().port()).into()];
    let client = builder.resolve_to_addrs("h.test", &addresses).build().unwrap();
    let url = format!("http://h.test:{}/x", server.address().port());
    match within(20, client.get(url).send()).await {
        Ok(response) => {
            assert_eq!(response.text().await.unwrap(), "/x");
            true
        }
        Err(error) => {
            assert_eq!((error.kind(), error.phase()), (ErrorKind::Connect, Some(Phase::Tcp)), "{error}");
            assert_eq!(error.request_written(), Written::Nothing);
            let text = error.to_string();
            assert!(text.contains(&format!("({option}): ")) && text.contains(name), "{text}");
            assert!(!text.contains("127.0.0."), "no address is to blame: {text}");
            assert!(std::error::Error::source(&error).is_some(), "{}", error.chain());
            assert_eq!(server.connections(), 0, "nothing went another way");
            false
        }
    }
}

#[tokio::test]
async fn an_interface_is_used_or_the_request_fails() {
    if !is_answered(builder().interface("lo"), "interface", "\"lo\"").await {
        eprintln!("skipped: this process may not bind sockets to an interface");
    }
    assert!(!is_answered(builder().interface("no-such-nic"), "interface", "\"no-such-nic\"").await);
}

#[tokio::test]
async fn a_mark_is_set_or_the_request_fails() {
    if !is_answered(builder().tcp_mark(7), "tcp_mark", "CAP_NET_ADMIN").await {
        eprintln!("skipped: this process may not mark sockets");
    }
    assert!(is_answered(builder().tcp_mark(7).tcp_mark(None), "tcp_mark", "").await);
}

#[tokio::test]
async fn a_congestion_control_is_used_or_the_request_fails() {
    let allowed = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_allowed_congestion_control");
    for name in allowed.unwrap_or_default().split_whitespace() {
        assert!(is_answered(builder().tcp_congestion(name), "tcp_congestion", name).await, "{name}");
    }
    assert!(!is_answered(builder().tcp_congestion("no-such-cc"), "tcp_congestion", "\"no-such-cc\"").await);
}

#[tokio::test]
async fn small_buffers_carry_large_contents() {
    let server = Server::start(|peer| {
        while let Some(request) = peer.request()? {
            peer.respond(&String::from_utf8_lossy(&request.body))?;
        }
        Ok(())
    });
    let client =
        builder().tcp_send_buffer_size(1).tcp_recv_buffer_size(1).tcp_notsent_lowat(1).build().unwrap();
    let content = "0123456789abcdef".repeat(16_384);
    for _ in 0..2 {
        let response = within(20, client.post(server.url("/")).body(content.clone()).send()).await.unwrap();
        assert!(response.text().await.unwrap() == content);
    }
    assert_eq!(server.requests_per_connection(), [2]);
    let usual = builder().tcp_send_buffer_size(None).tcp_recv_buffer_size(None).tcp_notsent_lowat(None);
    assert_eq!(fetch(&usual.build().unwrap(), &Server::echo()).await.unwrap(), "/x");
}

#[test]
fn settings_that_cannot_work_are_refused_by_build() {
    for name in ["", "a\0b", "longer-than-15-bytes"] {
        for (builder, setting) in
            [(builder().interface(name), "(interface)"), (builder().tcp_congestion(name), "(tcp_congestion)")]
        {
            let error = builder.build().unwrap_err();
            assert!(error.kind() == ErrorKind::Request && error.to_string().contains(setting), "{error}");
        }
    }
    let connector = |_| async { Err::<tokio::net::TcpStream, handclasp::BoxError>("not asked".into()) };
    for builder in [builder().interface("lo"), builder().tcp_mark(1)] {
        let error = builder.connector(connector).build().unwrap_err();
        let text = "the client has both a connector and an interface or a mark";
        assert!(error.kind() == ErrorKind::Request && error.to_string().contains(text), "{error}");
    }
    assert!(builder().tcp_congestion("reno").connector(connector).build().is_ok());
}
