//! Calls each method that the page "Coming from reqwest" calls "same", with the arguments that reqwest takes.
//!
//! This file compiles against reqwest too: replace `handclasp::Resolve` by `reqwest::dns::Resolve` and `handclasp` by `reqwest`,
//! and give reqwest the features of the same names and `stream`. Nothing here runs. Each function is named after a heading of
//! the page.

#![allow(dead_code, reason = "what compiles has passed")]
#![allow(clippy::needless_borrows_for_generic_args, reason = "reqwest takes references")]
#![allow(clippy::needless_pass_by_value, reason = "the arguments show the types that reqwest takes")]

use std::fmt::Display;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_core::Stream;
use handclasp::cookie::{CookieStore, Jar};
use handclasp::header::{self, HeaderMap, HeaderName, HeaderValue};
use handclasp::redirect::Policy;
use handclasp::tls::{self, CertificateRevocationList};
use handclasp::{
    Body, Certificate, Client, ClientBuilder, Error, Identity, IntoUrl, Method, NoProxy, Proxy,
    RequestBuilder, Response, Result, StatusCode, Upgraded, Url, Version,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tower::Service;

async fn crate_items<U: IntoUrl>(url: U) -> Result<Body> {
    fn connection<T: AsyncRead + AsyncWrite + Unpin + Send>(_: T) {}
    fn is_error<T: std::error::Error + Send + Sync + 'static>(_: &T) {}

    let response: Response = handclasp::get(url).await?;
    let builder: ClientBuilder = Client::builder();
    let client: Client = builder.build()?;
    let root = Url::parse("http://example.org/").unwrap();
    let request: RequestBuilder = client.request(Method::GET, root.join("a").unwrap());
    let sent: Result<Response> = request.header(header::ACCEPT, "text/plain").send().await;
    is_error(&sent.unwrap_err());
    let _: bool = response.status() == StatusCode::OK && response.version() == Version::HTTP_11;
    let proxy: Proxy = Proxy::all("http://proxy.example:3128")?.basic_auth("user", "password");
    let none: Option<NoProxy> = NoProxy::from_string("localhost").or_else(NoProxy::from_env);
    let proxy = proxy.custom_http_auth(HeaderValue::from_static("Bearer x")).headers(HeaderMap::new());
    let _: [Proxy; 3] = [proxy.no_proxy(none), Proxy::http("p.example")?, Proxy::https(root.clone())?];
    let _ = Proxy::custom(move |_| Some(root.clone()));
    let upgraded: Upgraded = response.upgrade().await?;
    connection(upgraded);
    Ok(Body::from("text"))
}

async fn client<U: IntoUrl + Clone>(url: U) -> Result<()> {
    let client = Client::new();
    let _ = Client::builder();
    for request in [
        client.get(url.clone()),
        client.post(url.clone()),
        client.put(url.clone()),
        client.patch(url.clone()),
        client.delete(url.clone()),
        client.head(url.clone()),
        client.request(Method::OPTIONS, url.clone()),
        client.get("http://example.org/"),
        client.get(String::new()),
        client.get(&String::new()),
        client.get(Url::parse("http://example.org/").unwrap()),
    ] {
        client.execute(request.build()?).await?;
    }
    let mut copy: Client = <Client as Clone>::clone(&<Client as Default>::default());
    Service::call(&mut copy, client.get(url.clone()).build()?).await?;
    Service::call(&mut &copy, client.get(url).build()?).await?;
    Ok(())
}

fn client_builder(
    headers: HeaderMap,
    address: SocketAddr,
    time: Duration,
    jar: Arc<Jar>,
    resolver: Arc<impl handclasp::Resolve + 'static>,
) -> Result<Client> {
    let builder = ClientBuilder::new().user_agent("name/1.0").default_headers(headers);
    let builder =
        builder.user_agent(HeaderValue::from_static("name/1.0")).user_agent(String::from("name/1.0"));
    let builder = builder.timeout(time).read_timeout(time).connect_timeout(time);
    let builder = builder.pool_idle_timeout(time).pool_idle_timeout(None).pool_max_idle_per_host(8_usize);
    let builder =
        builder.local_address(address.ip()).local_address(None).local_address(Some(IpAddr::from([0; 4])));
    let builder =
        builder.resolve("example.org", address).resolve_to_addrs("example.org", &[address, address]);
    let builder = builder.dns_resolver(resolver).https_only(true).tcp_nodelay(true);
    let builder = builder.tcp_keepalive(time).tcp_keepalive(None).tcp_keepalive(Some(time));
    let builder = builder.tcp_keepalive_interval(time).tcp_keepalive_interval(Some(time));
    let builder = builder.tcp_keepalive_retries(4).tcp_keepalive_retries(None);
    #[cfg(target_os = "linux")]
    let builder = builder.interface("eth0");
    #[cfg(target_os = "linux")]
    let builder = builder.tcp_user_timeout(time).tcp_user_timeout(Some(time)).tcp_user_timeout(None);
    #[cfg(unix)]
    let builder = builder.unix_socket("/run/s").unix_socket(std::path::PathBuf::from("/run/s"));
    let builder = builder.redirect(Policy::none()).referer(false);
    let builder = builder.cookie_store(true).cookie_provider(jar);
    let builder = builder.gzip(true).brotli(true).zstd(true).deflate(true);
    let builder = builder.no_gzip().no_brotli().no_zstd().no_deflate();
    let builder =
        builder.http1_title_case_headers().http1_allow_obsolete_multiline_headers_in_responses(true);
    let builder = builder.http1_ignore_invalid_headers_in_responses(true);
    let builder = builder.http1_allow_spaces_after_header_name_in_responses(true);
    let builder = builder.no_proxy().proxy(Proxy::all("socks5://proxy.example")?);
    let builder = builder.add_root_certificate(Certificate::from_pem(b"")?);
    let builder = builder.tls_certs_merge([Certificate::from_pem(b"")?]);
    let builder = builder.tls_certs_only(Certificate::from_pem_bundle(b"")?);
    let builder = builder.identity(Identity::from_pem(b"")?);
    let builder = builder.tls_crls_only(CertificateRevocationList::from_pem_bundle(b"")?);
    let builder = builder.add_crl(CertificateRevocationList::from_pem(b"")?);
    let builder = builder.add_crls([CertificateRevocationList::from_pem(b"")?]);
    let builder = builder.tls_danger_accept_invalid_certs(false).danger_accept_invalid_certs(false);
    let builder = builder.tls_danger_accept_invalid_hostnames(false).danger_accept_invalid_hostnames(false);
    let builder = builder.tls_version_min(tls::Version::TLS_1_2).min_tls_version(tls::Version::TLS_1_2);
    let builder = builder.tls_version_max(tls::Version::TLS_1_3).max_tls_version(tls::Version::TLS_1_3);
    builder.tls_sni(true).tls_sslkeylogfile(false).build()
}

async fn request(client: Client, builder: RequestBuilder) -> Result<()> {
    let mut request = builder.build()?;
    let _: (&Method, &HeaderMap, Version) = (request.method(), request.headers(), request.version());
    *request.method_mut() = Method::PUT;
    request.headers_mut().insert("x-name", HeaderValue::from_static("value"));
    *request.version_mut() = Version::HTTP_11;
    client.execute(request).await?;
    Ok(())
}

async fn request_builder<T: Serialize + ?Sized>(
    builder: RequestBuilder,
    client: Client,
    value: &T,
    secret: impl Display + Copy,
    time: Duration,
) -> Result<Response> {
    let builder = builder.header("accept", "text/plain").header(&b"accept"[..], &b"text/plain"[..]);
    let builder = builder.header(HeaderName::from_static("a"), HeaderValue::from_static("b"));
    let builder =
        builder.header(String::from("a"), String::from("b")).header("a", 1_u64).headers(HeaderMap::new());
    let builder =
        builder.basic_auth(secret, Some(secret)).basic_auth("user", None::<&str>).bearer_auth(secret);
    let builder = builder.body("text").body(String::new()).body(vec![0_u8]).body(Bytes::new()).timeout(time);
    let builder = builder.query(value).query(&[("a", 1)]).form(value).form(&[("a", "b")]).json(value);
    let copy: Option<RequestBuilder> = builder.try_clone();
    drop(copy);
    RequestBuilder::from_parts(client, builder.build()?).send().await
}

async fn response<T: DeserializeOwned>(mut received: [Response; 9]) -> Result<T> {
    let response = &mut received[0];
    let _: (StatusCode, Version, &HeaderMap) = (response.status(), response.version(), response.headers());
    let _: &mut HeaderMap = response.headers_mut();
    let _: (Option<u64>, Option<SocketAddr>, &Url) =
        (response.content_length(), response.remote_addr(), response.url());
    let _: &http::Extensions = response.extensions();
    let _: &mut http::Extensions = response.extensions_mut();
    let _: Vec<String> = response.cookies().map(|cookie| cookie.name().to_owned()).collect();
    let _: &Response = response.error_for_status_ref()?;
    let _: Option<Bytes> = response.chunk().await?;

    let [a, b, c, d, e, f, g, h, i] = received;
    let _: Bytes = a.bytes().await?;
    let _: String = b.text().await?;
    let _: String = c.text_with_charset("windows-1252").await?;
    let _: &dyn Stream<Item = Result<Bytes>> = &d.bytes_stream();
    let _: Upgraded = e.upgrade().await?;
    let _: Body = Body::from(f);
    let _: http::Response<Body> = <http::Response<Body> as From<Response>>::from(g);
    let _: Response = Response::from(http::Response::new("text"));
    let _: Response = Response::from(http::Response::new(Body::default()));
    drop(h.error_for_status()?);
    i.json::<T>().await
}

fn body<S, B>(stream: S, other: B, file: tokio::fs::File, response: Response) -> [Body; 11]
where
    S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    B: http_body::Body<Data = Bytes, Error = io::Error> + Send + Sync + 'static,
{
    fn is_body<T: http_body::Body<Data = Bytes, Error = Error>>(body: T) -> T {
        body
    }
    let _: Option<&[u8]> = Body::from("text").as_bytes();
    [
        is_body(Body::wrap_stream(stream)),
        Body::wrap(other),
        <Body as Default>::default(),
        Body::from(Bytes::new()),
        Body::from(Vec::new()),
        Body::from(&b"bytes"[..]),
        Body::from(String::new()),
        Body::from("text"),
        Body::from(file),
        Body::from(response),
        <Body as From<&'static str>>::from("text"),
    ]
}

fn error(error: Error, url: Url) -> Option<String> {
    let _: [bool; 10] = [
        error.is_builder(),
        error.is_redirect(),
        error.is_status(),
        error.is_timeout(),
        error.is_request(),
        error.is_connect(),
        error.is_dns(),
        error.is_body(),
        error.is_decode(),
        error.is_upgrade(),
    ];
    let _: Option<StatusCode> = error.status();
    let error: Error = error.with_url(url);
    let text = error.url().map(|url| url.to_string());
    let _: Error = error.without_url();
    text
}

fn redirect_policy() -> [Policy; 4] {
    let custom = Policy::custom(|attempt| attempt.follow());
    [Policy::limited(5_usize), Policy::none(), custom, <Policy as Default>::default()]
}

fn redirect_attempt() -> Policy {
    Policy::custom(|attempt| match attempt.status() {
        StatusCode::SEE_OTHER => attempt.follow(),
        StatusCode::FOUND => attempt.stop(),
        StatusCode::MOVED_PERMANENTLY => attempt.error("moved"),
        _ => attempt.error(io::Error::other("moved")),
    })
}

fn cookie_jar(url: &Url) -> Jar {
    let jar = <Jar as Default>::default();
    jar.add_cookie_str("name=value", url);
    jar
}

/// A store of the caller.
struct Own(Jar);

impl CookieStore for Own {
    fn set_cookies(&self, fields: &mut dyn Iterator<Item = &HeaderValue>, url: &Url) {
        CookieStore::set_cookies(&self.0, fields, url);
    }

    fn cookies(&self, url: &Url) -> Option<HeaderValue> {
        CookieStore::cookies(&self.0, url)
    }
}

fn cookie_store(own: Own, url: &Url) -> ClientBuilder {
    let field = HeaderValue::from_static("name=value");
    own.set_cookies(&mut [field].iter(), url);
    let _: Option<HeaderValue> = own.cookies(url);
    Client::builder().cookie_provider(Arc::new(own))
}

fn cookie_cookie(response: &Response) {
    for cookie in response.cookies() {
        let _: (&str, &str) = (cookie.name(), cookie.value());
        let _: (Option<&str>, Option<&str>) = (cookie.path(), cookie.domain());
        let _: [bool; 4] =
            [cookie.http_only(), cookie.secure(), cookie.same_site_lax(), cookie.same_site_strict()];
        let _: (Option<Duration>, Option<SystemTime>) = (cookie.max_age(), cookie.expires());
    }
}

fn identity(pem: &[u8]) -> Result<Identity> {
    Identity::from_pem(pem)
}

fn tls_certificate_revocation_list(pem: &[u8]) -> Result<Vec<CertificateRevocationList>> {
    let mut all: Vec<CertificateRevocationList> = CertificateRevocationList::from_pem_bundle(pem)?;
    all.push(CertificateRevocationList::from_pem(pem)?);
    Ok(all)
}

fn tls_version() -> [tls::Version; 2] {
    [tls::Version::TLS_1_2, tls::Version::TLS_1_3]
}

fn tls_tls_info(info: &tls::TlsInfo) -> Option<&[u8]> {
    let _ = info.version();
    info.peer_certificate()
}

fn certificate(bytes: &[u8]) -> Result<Vec<Certificate>> {
    let mut all: Vec<Certificate> = Certificate::from_pem_bundle(bytes)?;
    all.extend([Certificate::from_der(bytes)?, Certificate::from_pem(bytes)?]);
    Ok(all)
}
