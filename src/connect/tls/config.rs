//! The configuration of rustls and the handshake: which identity the client shows, which sessions the client resumes, and
//! which protocols ALPN offers.
//!
//! This file knows nothing of addresses. The only HTTP that this file knows is that ALPN offers HTTP/1.1. Invariants:
//! making a client reads no file. The trust store is read once, when the first https connection is dialed. All dials of
//! a client with the same identity, the same isolation tag and the same proxy or unix socket share their sessions. So
//! no session crosses identities, tags, proxies or clients, and all connections of one client have the same trust
//! settings. For each client, the function of the caller runs on at most one thread at a time.

use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use rustls::client::{ClientSessionMemoryCache, ClientSessionStore, Resumption, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, Error, HandshakeKind, KeyLogFile, ProtocolVersion, SupportedProtocolVersion};
use tokio::net::TcpStream;

use tokio::sync::{Mutex as AsyncMutex, Notify, OwnedMutexGuard};

use super::Carrier;
use super::begun::Begun;
use super::failure::{cause, refused};
use super::identity::Identity;
use super::info::{Chain, TlsInfo, Version};
use super::rustls_0_23::{Backend, Part};
use super::settings::{ClientIdentity, IS_WEBPKI, TlsConfig};
use super::stream::TlsStream;
use crate::connect::{DialError, Scope, Via};

/// TLS of one client: its settings, and its configuration once the configuration is loaded.
pub(crate) struct Tls {
    loader: Arc<Loader>,
}

/// Loader that loads the configuration once, and again when the client's identity has changed.
struct Loader {
    shared: Arc<Shared>,
    /// The configuration without an identity of the caller's function.
    loaded: OnceLock<Loaded>,
    /// Locked while the configuration is loaded and while the function of the caller runs, so that the identities have
    /// an order. Only [`Turn`] locks.
    latest: Arc<AsyncMutex<Latest>>,
    /// Wakes the dials that wait for a turn.
    freed: Notify,
}

/// Latest identity that the caller's function returned, and the configuration with this identity.
type Latest = Option<(Identity, Loaded)>;

/// The turn of a dial to load the configuration. Other dials of the client wait until the turn ends.
struct Turn {
    loader: Arc<Loader>,
    /// `None` only while the turn ends.
    latest: Option<OwnedMutexGuard<Latest>>,
}

/// State that the configurations of all identities share.
struct Shared {
    settings: TlsConfig,
    /// Certificate chains of servers. The connections to one server share one copy of its chain.
    chains: Mutex<Vec<Weak<Chain>>>,
}

/// A configuration that is ready for handshakes.
#[derive(Clone)]
pub(crate) struct Loaded {
    config: Arc<ClientConfig>,
    /// Session store of `config`. `None` if the caller's configuration has its own store.
    sessions: Option<Arc<ClientSessionMemoryCache>>,
    tagged: Arc<Tagged>,
    /// Generation of the client's identity. 0 if the identity never changes.
    generation: u64,
    shared: Arc<Shared>,
}

/// Configurations for connections with an isolation tag.
struct Tagged {
    /// Configuration that stores and resumes no sessions.
    isolated: Arc<ClientConfig>,
    /// Sessions of the latest pairs of a tag and a proxy or unix socket, in the order of their latest dials. Empty if
    /// the caller's configuration has its own session store.
    latest: Mutex<Vec<Sessions>>,
}

/// Sessions of one pair of a tag and a proxy or unix socket. Either part may be absent.
#[derive(Clone)]
struct Sessions {
    tag: Option<Arc<str>>,
    via: Via,
    config: Arc<ClientConfig>,
    sessions: Arc<ClientSessionMemoryCache>,
}

/// Result of a handshake.
pub(crate) struct Secured {
    pub(crate) stream: TlsStream,
    pub(crate) info: Arc<TlsInfo>,
}

impl Tls {
    /// Returns TLS with these settings. Reads no file.
    pub(crate) fn new(settings: TlsConfig) -> Self {
        let shared = Arc::new(Shared { settings, chains: Mutex::default() });
        let (loaded, latest, freed) = Default::default();
        Self { loader: Arc::new(Loader { shared, loaded, latest, freed }) }
    }

    /// Returns the configuration for the next handshake. The first call reads the trust store. If a function returns
    /// the client's identity, each call of this method calls the function. The calls take turns.
    pub(crate) async fn load(&self) -> Result<Loaded, DialError> {
        if let Some(loaded) = self.loader.ready() {
            return Ok(loaded.clone());
        }
        // A dial waits for its turn before it occupies a thread, so that a function that hangs occupies only one
        // thread.
        let turn = self.loader.turn().await;
        if let Some(loaded) = self.loader.ready() {
            return Ok(loaded.clone());
        }
        // A blocking thread loads the configuration, so that a dial never waits for another runtime. The other runtime
        // may not be driven. The function of the caller may read files.
        let loaded = tokio::task::spawn_blocking(move || turn.load()).await;
        loaded.unwrap_or_else(|error| {
            let message = match self.loader.asks() {
                true => "the trust store or the client's identity could not be loaded",
                false => "the trust store could not be loaded",
            };
            Err(DialError::tls(message.into(), Scope::Attempt).because(error))
        })
    }
}

impl Loader {
    /// Whether a function returns the client's identity.
    fn asks(&self) -> bool {
        matches!(self.shared.settings.identity, ClientIdentity::Asked(_))
    }

    /// Returns the configuration, if it is loaded and no function has to be called.
    fn ready(&self) -> Option<&Loaded> {
        self.loaded.get().filter(|_| !self.asks())
    }

    /// Waits for the turn of a dial. A freed turn is not handed to a certain dial, because that dial may belong to a
    /// runtime that is not driven.
    async fn turn(self: &Arc<Self>) -> Turn {
        loop {
            let mut freed = pin!(self.freed.notified());
            freed.as_mut().enable();
            if let Ok(latest) = Arc::clone(&self.latest).try_lock_owned() {
                return Turn { loader: Arc::clone(self), latest: Some(latest) };
            }
            freed.await;
        }
    }
}

impl Turn {
    /// Returns the configuration for the next handshake. Loads the configuration if no earlier turn has loaded it.
    fn load(mut self) -> Result<Loaded, DialError> {
        let Loader { shared, loaded, .. } = &*self.loader;
        let base = match loaded.get() {
            Some(loaded) => loaded,
            None => {
                let new = shared.load()?;
                loaded.get_or_init(|| new)
            }
        };
        let (ClientIdentity::Asked(provider), Some(latest)) = (&shared.settings.identity, &mut self.latest)
        else {
            return Ok(base.clone());
        };
        let asked = provider.ask(latest.as_ref().map(|(identity, _)| identity)).map_err(|error| {
            let message = "the function of identity_provider gave no identity for the TLS handshake";
            DialError::tls(message.into(), Scope::Attempt).because(error)
        })?;
        if let Some(identity) = asked {
            // A new identity gets an empty session store, because the server may associate a session with the old
            // identity. The generation begins only at this point, because an identity that cannot be used does not
            // replace the earlier identity.
            // The next dial may get another identity.
            let loaded = base.with_identity(&identity, Scope::Attempt)?;
            let generation = provider.generation().begin();
            **latest = Some((identity, Loaded { generation, ..loaded }));
        }
        Ok(latest.as_ref().map_or_else(|| base.clone(), |(_, loaded)| loaded.clone()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.latest = None;
        self.loader.freed.notify_waiters();
    }
}

impl Shared {
    /// Returns the configuration that the settings ask for. Reads the trust store.
    fn load(self: &Arc<Self>) -> Result<Loaded, DialError> {
        let settings = &self.settings;
        if let Some(Backend(Part::Config(config))) = &settings.backend {
            let mut config = ClientConfig::clone(config);
            config.alpn_protocols = vec![HTTP_1_1.to_vec()];
            config.enable_early_data = false;
            return Ok(self.loaded(config, None));
        }
        let provider = settings.provider();
        let verifier = settings.verifier(&provider).map_err(|error| {
            let message = match IS_WEBPKI {
                true => {
                    "no trusted certificate authorities were found on this system: install them, add a root certificate, or enable the feature webpki-roots"
                }
                false => "the certificate verifier of this platform cannot use the given root certificates",
            };
            DialError::tls(message.into(), Scope::Host).because(error)
        })?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&settings.versions())
            .map_err(|error| {
                let message = "the crypto provider has no cipher suite for the allowed versions of TLS";
                DialError::tls(message.into(), Scope::Host).because(error)
            })?;
        let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        config.enable_sni = !settings.hides_server_name;
        if settings.logs_keys {
            config.key_log = Arc::new(KeyLogFile::new());
        }
        let sessions = Arc::new(ClientSessionMemoryCache::new(SESSIONS));
        let loaded = self.loaded(config, Some(sessions));
        match &settings.identity {
            ClientIdentity::Fixed(identity) => loaded.with_identity(identity, Scope::Host),
            ClientIdentity::None | ClientIdentity::Asked(_) => Ok(loaded),
        }
    }

    /// Returns a configuration with the given session store, or with the store that `config` already has.
    fn loaded(
        self: &Arc<Self>,
        mut config: ClientConfig,
        sessions: Option<Arc<ClientSessionMemoryCache>>,
    ) -> Loaded {
        let resumption = match &sessions {
            Some(sessions) => Resumption::store(Arc::clone(sessions) as _),
            None => config.resumption.clone(),
        };
        config.resumption = Resumption::disabled();
        let tagged = Arc::new(Tagged { isolated: Arc::new(config.clone()), latest: Mutex::default() });
        config.resumption = resumption;
        Loaded { config: Arc::new(config), sessions, tagged, generation: 0, shared: Arc::clone(self) }
    }

    /// Returns the shared copy of a certificate chain.
    fn one_copy(&self, chain: Arc<Chain>) -> Arc<Chain> {
        let mut chains = self.chains.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = chains.iter().filter_map(Weak::upgrade).find(|known| *known == chain) {
            return known;
        }
        if chains.len() >= CHAINS {
            chains.retain(|chain| chain.strong_count() > 0);
        }
        if chains.len() < CHAINS {
            chains.push(Arc::downgrade(&chain));
        }
        chain
    }
}

impl TlsConfig {
    /// Returns the versions that the client offers.
    fn versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        let all = [(Version::TLS_1_3, &rustls::version::TLS13), (Version::TLS_1_2, &rustls::version::TLS12)];
        let is_allowed =
            |version| self.min.is_none_or(|min| min <= version) && self.max.is_none_or(|max| version <= max);
        all.into_iter().filter(|(version, _)| is_allowed(*version)).map(|(_, offered)| offered).collect()
    }
}

impl Loaded {
    /// Returns a configuration with the same trust settings and an empty session store, whose handshakes show this
    /// identity. If the identity cannot be used, the error concerns `scope`.
    fn with_identity(&self, identity: &Identity, scope: Scope) -> Result<Self, DialError> {
        let resolver = identity.resolver(self.config.crypto_provider()).map_err(|error| {
            let message =
                "the client's identity cannot be used: give the private key of the first certificate";
            DialError::tls(message.into(), scope).because(error)
        })?;
        let mut config = ClientConfig::clone(&self.config);
        config.client_auth_cert_resolver = resolver;
        let sessions = Arc::new(ClientSessionMemoryCache::new(SESSIONS));
        Ok(self.shared.loaded(config, Some(sessions)))
    }

    /// Returns a configuration with the same trust settings, whose handshakes share sessions only with handshakes of
    /// the same tag and the same proxy or unix socket. With a configuration of the caller, handshakes with a tag,
    /// through a proxy or over a unix socket share no session.
    pub(crate) fn isolated(self, tag: Option<&Arc<str>>, via: &Via) -> Self {
        if tag.is_none() && *via == Via::Direct {
            return self;
        }
        if self.sessions.is_none() {
            return Self { config: Arc::clone(&self.tagged.isolated), ..self };
        }
        let Sessions { config, sessions, .. } = self.tagged.of(tag, via);
        Self { config, sessions: Some(sessions), ..self }
    }

    /// Returns a configuration with the same trust settings, whose handshakes neither store nor resume a session.
    #[cfg(feature = "proxy")]
    pub(crate) fn without_sessions(self) -> Self {
        Self { config: Arc::clone(&self.tagged.isolated), sessions: None, ..self }
    }

    /// Makes the TLS handshake with `host` over `carrier`, and returns its result. Dropping the future closes `carrier`.
    pub(crate) async fn handshake(
        &self,
        host: &str,
        carrier: impl Into<Carrier>,
    ) -> Result<Secured, DialError> {
        let name = self.server_name(host)?;
        let connected = TlsStream::connect(Arc::clone(&self.config), name.clone(), carrier.into()).await;
        self.secured(&name, connected)
    }

    /// Begins a handshake with `host` before there is a connection.
    pub(crate) fn begin(&self, host: &str) -> Result<Begun, DialError> {
        let name = self.server_name(host)?;
        let begun = Begun::new(Arc::clone(&self.config), name.clone());
        begun.map_err(|error| refused(&name.to_str(), error))
    }

    /// Continues a handshake over `tcp`. `sent` is the number of bytes of the handshake that were sent with the SYN.
    pub(crate) async fn go_on(
        &self,
        begun: Begun,
        sent: usize,
        tcp: TcpStream,
    ) -> Result<Secured, DialError> {
        let name = begun.name().clone();
        let connected = begun.connect(sent, tcp.into()).await;
        self.secured(&name, connected)
    }

    /// Returns the name that the certificate of `host` must be valid for.
    fn server_name(&self, host: &str) -> Result<ServerName<'static>, DialError> {
        self.shared.settings.server_name(host).ok_or_else(|| {
            let message = format!("no certificate can be valid for the host {host:?}");
            DialError::tls(message, Scope::Host)
        })
    }

    /// Returns the result of a handshake.
    fn secured(
        &self,
        name: &ServerName<'static>,
        connected: io::Result<TlsStream>,
    ) -> Result<Secured, DialError> {
        let stream = connected.map_err(|error| {
            if let (Some(Error::DecryptError), Some(sessions)) = (cause(&error), &self.sessions) {
                // The server's keys of the resumed session may differ from the client's, so the next handshake must not
                // resume this session.
                sessions.remove_tls12_session(name);
            }
            refused(&name.to_str(), error)
        })?;
        let info = Arc::new(self.info(stream.tls()));
        Ok(Secured { stream, info })
    }

    /// Returns the parameters of a finished handshake.
    fn info(&self, tls: &UnbufferedClientConnection) -> TlsInfo {
        let chain = tls.peer_certificates().unwrap_or_default();
        let chain = chain.iter().map(|der| der.as_ref().into()).collect();
        TlsInfo {
            version: match tls.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => Version::TLS_1_2,
                _ => Version::TLS_1_3,
            },
            suite: suite(tls),
            group: tls.negotiated_key_exchange_group().and_then(|group| group.name().as_str()),
            is_resumed: tls.handshake_kind() == Some(HandshakeKind::Resumed),
            has_alpn: tls.alpn_protocol().is_some(),
            generation: self.generation,
            chain: self.shared.one_copy(chain),
        }
    }
}

impl Tagged {
    /// Returns the sessions of a tag and a proxy or unix socket. If too many are kept, removes the sessions of the
    /// least recent dial.
    fn of(&self, tag: Option<&Arc<str>>, via: &Via) -> Sessions {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let sessions = match latest.iter().position(|known| known.tag.as_ref() == tag && known.via == *via) {
            Some(at) => latest.remove(at),
            None => {
                let size = if tag.is_some() { SESSIONS_PER_TAG } else { SESSIONS };
                let sessions = Arc::new(ClientSessionMemoryCache::new(size));
                let mut config = ClientConfig::clone(&self.isolated);
                config.resumption = Resumption::store(Arc::clone(&sessions) as _);
                Sessions { tag: tag.cloned(), via: via.clone(), config: Arc::new(config), sessions }
            }
        };
        if latest.len() >= TAGS {
            latest.remove(0);
        }
        latest.push(sessions.clone());
        sessions
    }
}

/// Returns IANA's name of a connection's cipher suite. The names of TLS 1.3 suites in rustls differ from IANA's names.
fn suite(tls: &UnbufferedClientConnection) -> &'static str {
    let suite = tls.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
    match suite.unwrap_or("unknown") {
        "TLS13_AES_128_GCM_SHA256" => "TLS_AES_128_GCM_SHA256",
        "TLS13_AES_256_GCM_SHA384" => "TLS_AES_256_GCM_SHA384",
        "TLS13_CHACHA20_POLY1305_SHA256" => "TLS_CHACHA20_POLY1305_SHA256",
        "TLS13_AES_128_CCM_SHA256" => "TLS_AES_128_CCM_SHA256",
        "TLS13_AES_128_CCM_8_SHA256" => "TLS_AES_128_CCM_8_SHA256",
        other => other,
    }
}

/// The only protocol that ALPN offers.
const HTTP_1_1: &[u8] = b"http/1.1";
/// Number of sessions that are kept for resumption, over all hosts. The number is the default of rustls.
const SESSIONS: usize = 256;
/// Largest number of pairs of a tag and a proxy or unix socket whose sessions are kept.
const TAGS: usize = 64;
/// Number of sessions that are kept for each tag.
const SESSIONS_PER_TAG: usize = 8;
/// Largest number of chains that connections share. Each connection to a further server has its own copy.
const CHAINS: usize = 64;

#[cfg(test)]
#[path = "config_tests.rs"]
pub(crate) mod tests;
