//! A proxy on loopback that opens connections: by CONNECT over TCP or TLS, and by SOCKS5 and SOCKS4a. Every connection
//! leads to one server, for any name or address that a client asks for. The proxy runs in tasks of the test's runtime.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// Protocol between a client and the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Http,
    Https,
    Socks5,
    Socks4,
}

/// A proxy that records the requests of its clients.
pub struct Gate {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    kind: Kind,
    to: SocketAddr,
    /// For HTTP, the value of `Proxy-Authorization`. For SOCKS, the user and the password with a colon between them.
    /// With `None`, the proxy asks for no credentials.
    credentials: Option<String>,
    /// Size of the pieces in which answers are sent.
    piece: usize,
    accepted: AtomicUsize,
    asked: Mutex<Vec<String>>,
}

impl Gate {
    /// Starts a proxy whose connections lead to `to`.
    pub async fn start(kind: Kind, to: SocketAddr, credentials: Option<&str>) -> Self {
        Self::start_in_pieces(kind, to, credentials, None, usize::MAX).await
    }

    /// Starts a proxy over TLS.
    pub async fn start_tls(config: ServerConfig, to: SocketAddr, credentials: Option<&str>) -> Self {
        Self::start_in_pieces(Kind::Https, to, credentials, Some(config), usize::MAX).await
    }

    /// Starts a proxy that sends its answers in pieces.
    pub async fn start_in_pieces(
        kind: Kind,
        to: SocketAddr,
        credentials: Option<&str>,
        tls: Option<ServerConfig>,
        piece: usize,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let credentials = credentials.map(str::to_owned);
        let (accepted, asked) = Default::default();
        let shared = Arc::new(Shared { kind, to, credentials, piece, accepted, asked });
        let (serving, tls) = (shared.clone(), tls.map(|config| TlsAcceptor::from(Arc::new(config))));
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tcp.set_nodelay(true).unwrap();
                serving.accepted.fetch_add(1, Ordering::SeqCst);
                let (shared, tls) = (serving.clone(), tls.clone());
                tokio::spawn(async move {
                    // The client may close a connection at any time.
                    let _ = match tls {
                        Some(tls) => match tls.accept(tcp).into_fallible().await {
                            Ok(tls) => shared.serve(tls).await,
                            Err((error, mut tcp)) => {
                                // The socket is read to its end, so that no reset overtakes the alert.
                                tcp.shutdown().await?;
                                while tcp.read(&mut [0; 4096]).await? > 0 {}
                                Err(error)
                            }
                        },
                        None => shared.serve(tcp).await,
                    };
                    Ok::<_, std::io::Error>(())
                });
            }
        });
        Self { address, shared }
    }

    /// Returns the URL of the proxy, with a user and a password before its address.
    pub fn url(&self, login: &str) -> String {
        let scheme = match self.shared.kind {
            Kind::Http => "http",
            Kind::Https => "https",
            Kind::Socks5 => "socks5h",
            Kind::Socks4 => "socks4a",
        };
        let at = if login.is_empty() { "" } else { "@" };
        format!("{scheme}://{login}{at}{}", self.address)
    }

    /// Returns the number of connections that the proxy has accepted.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Returns the requests of the clients: for HTTP, the head of each request, and for SOCKS, the type and the text of
    /// each destination.
    pub fn asked(&self) -> Vec<String> {
        self.shared.asked.lock().unwrap().clone()
    }
}

impl Shared {
    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(&self, mut client: S) -> std::io::Result<()> {
        let is_open = match self.kind {
            Kind::Http | Kind::Https => self.connect(&mut client).await?,
            Kind::Socks5 => self.socks5(&mut client).await?,
            Kind::Socks4 => self.socks4(&mut client).await?,
        };
        if is_open {
            let mut server = TcpStream::connect(self.to).await?;
            server.set_nodelay(true)?;
            copy_bidirectional(&mut client, &mut server).await?;
        }
        Ok(())
    }

    fn note(&self, asked: String) {
        self.asked.lock().unwrap().push(asked);
    }

    async fn answer(&self, client: &mut (impl AsyncWrite + Unpin), answer: &[u8]) -> std::io::Result<()> {
        for piece in answer.chunks(self.piece) {
            client.write_all(piece).await?;
            client.flush().await?;
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn connect(&self, client: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> std::io::Result<bool> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await?);
        }
        let head = String::from_utf8(head).unwrap();
        self.note(head.clone());
        let known = self.credentials.as_ref();
        if known.is_some_and(|value| !head.contains(&format!("proxy-authorization: {value}\r\n"))) {
            let answer =
                "HTTP/1.1 407 No\r\nproxy-authenticate: Basic realm=\"gate\"\r\ncontent-length: 0\r\n\r\n";
            self.answer(client, answer.as_bytes()).await?;
            return Ok(false);
        }
        self.answer(client, b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
        Ok(true)
    }

    async fn socks5(&self, client: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> std::io::Result<bool> {
        assert_eq!(client.read_u8().await?, 5);
        let methods = take(client).await?;
        if let Some(known) = &self.credentials {
            if !methods.contains(&2) {
                self.answer(client, &[5, 0xff]).await?;
                return Ok(false);
            }
            self.answer(client, &[5, 2]).await?;
            assert_eq!(client.read_u8().await?, 1);
            let given = [take(client).await?, take(client).await?].join(&b':');
            let is_known = given == known.as_bytes();
            self.answer(client, &[1, u8::from(!is_known)]).await?;
            if !is_known {
                return Ok(false);
            }
        } else {
            self.answer(client, &[5, 0]).await?;
        }
        let mut start = [0; 4];
        client.read_exact(&mut start).await?;
        assert_eq!(start[..3], [5, 1, 0]);
        let host = match start[3] {
            1 => format!("v4 {}", std::net::Ipv4Addr::from(client.read_u32().await?)),
            4 => format!("v6 {}", std::net::Ipv6Addr::from(client.read_u128().await?)),
            3 => format!("name {}", String::from_utf8(take(client).await?).unwrap()),
            other => panic!("the address type {other}"),
        };
        self.note(format!("{host} {}", client.read_u16().await?));
        self.answer(client, &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
        Ok(true)
    }

    async fn socks4(&self, client: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> std::io::Result<bool> {
        assert_eq!(client.read_u16().await?, 0x0401);
        let port = client.read_u16().await?;
        let address = client.read_u32().await?;
        let user = take_text(client).await?;
        let host = match address {
            1..=255 => format!("name {}", take_text(client).await?),
            _ => format!("v4 {}", std::net::Ipv4Addr::from(address)),
        };
        self.note(format!("{host} {port}"));
        let is_known = self.credentials.as_ref().is_none_or(|known| *known == user);
        self.answer(client, &[0, if is_known { 90 } else { 93 }, 0, 0, 0, 0, 0, 0]).await?;
        Ok(is_known)
    }
}

/// Reads one byte, which is a length, and then as many bytes.
async fn take(client: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::from(client.read_u8().await?)];
    client.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// Reads text up to a zero byte.
async fn take_text(client: &mut (impl AsyncRead + Unpin)) -> std::io::Result<String> {
    let mut text = Vec::new();
    loop {
        match client.read_u8().await? {
            0 => return Ok(String::from_utf8(text).unwrap()),
            byte => text.push(byte),
        }
    }
}
