//! One request: connections, redirects, ranges, and the body into the part file.
//!
//! Redirects are followed here and not in the client, because their limits are our promise: https
//! never becomes http, a user name and password never reach another host, and no redirect leads to
//! `file:`. Compressed transfer is never asked for: the hash is that of the file as the server
//! stores it.
//!
//! Plain http goes through a proxy in the absolute form (`GET http://host/path`), since many
//! proxies open tunnels for https only; the client library always tunnels. So such a connection is
//! one to the proxy's address, and the first line of each request is completed as it is sent.

use super::FetchConfig;
use super::error::{TransferError, TransferErrorKind};
use super::partial::{Origin, Partial};
use super::url::{self, Url};
use data_encoding::BASE64;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use std::{fmt, fs};
use ureq::http::{HeaderMap, Method, StatusCode, Uri, header};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, TcpConnector, Transport};
use ureq::{Agent, Proxy};

/// Characters that URLs in the wild contain and requests may not.
const TO_ENCODE: &percent_encoding::AsciiSet =
    &percent_encoding::CONTROLS.add(b'"').add(b'<').add(b'>').add(b'^').add(b'`').add(b'{').add(b'|').add(b'}');

/// The connections of a fetcher, kept alive between requests; one pool for each way out of this
/// machine.
pub(super) struct Client {
    agents: Mutex<BTreeMap<Route, Agent>>,
    roots: OnceLock<Result<RootCerts, String>>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Route {
    Direct,
    DirectTls,
    /// Through a tunnel the proxy opens, or SOCKS.
    Tunnel(String),
    /// The proxy makes the request.
    Forward(String),
}

impl Client {
    pub fn new() -> Self {
        Self { agents: Mutex::default(), roots: OnceLock::new() }
    }

    /// Appends the body of `start` to `part`, and continues the bytes there if the server can.
    ///
    /// # Errors
    /// The reason for which the body is not complete; the bytes that arrived are in `part`.
    pub fn transfer(
        &self,
        config: &FetchConfig,
        start: &Url,
        part: &mut Partial,
        hash_known: bool,
        progress: &dyn Fn(u64, Option<u64>),
    ) -> Result<(), TransferError> {
        let local =
            |error: std::io::Error| TransferError::local(&format!("cannot write `{}`", part_name(start)), &error);
        // Without a hash only the server can tell that our bytes still belong to its file.
        let start_text = start.to_string();
        let validator = part.origin().filter(|origin| origin.url == start_text).map(|origin| origin.validator.clone());
        if part.len() > 0 && !hash_known && validator.is_none() {
            part.restart().map_err(local)?;
        }

        let mut headers = Vec::new();
        if part.len() > 0 {
            headers.push(("Range".to_owned(), format!("bytes={}-", part.len())));
            headers.extend(validator.map(|validator| ("If-Range".to_owned(), validator)));
        }
        let (response, _) = self.request(config, start, &headers, None)?;
        let status = response.status();
        let headers = response.headers();
        let length: Option<u64> = text(headers, header::CONTENT_LENGTH).and_then(|value| value.parse().ok());
        let total = match status {
            StatusCode::OK => {
                let origin = strong_validator(headers).map(|validator| Origin { url: start_text, validator });
                part.restart().map_err(local)?;
                if let Some(origin) = origin {
                    part.set_origin(origin).map_err(local)?;
                }
                length
            }
            StatusCode::PARTIAL_CONTENT => {
                let range = text(headers, header::CONTENT_RANGE).and_then(parse_content_range);
                match range {
                    Some(range) if range.start == Some(part.len()) && part.len() > 0 => {
                        range.total.or(length.map(|length| length + part.len()))
                    }
                    _ => {
                        part.restart().map_err(local)?;
                        return Err(TransferError::flaky("the server answered with another range than asked for"));
                    }
                }
            }
            StatusCode::RANGE_NOT_SATISFIABLE if part.len() > 0 => {
                let total =
                    text(headers, header::CONTENT_RANGE).and_then(parse_content_range).and_then(|range| range.total);
                if total == Some(part.len()) && hash_known {
                    return Ok(());
                }
                part.restart().map_err(local)?;
                return Err(TransferError::flaky("the server's file is not the one that was begun"));
            }
            status => return Err(status_error(status, headers)),
        };
        if let Some(total) = total.filter(|total| *total > config.size_max_bytes) {
            return Err(TransferError::last(format!(
                "the file has {total} bytes, more than the {} allowed",
                config.size_max_bytes
            )));
        }

        if let Some(total) = total {
            part.require(total).map_err(local)?;
        }
        progress(part.len(), total);
        let mut body = response.into_body().into_with_config().limit(u64::MAX).reader();
        let mut buffer = vec![0; 1 << 17];
        loop {
            if config.cancel.load(Ordering::Relaxed) {
                return Err(TransferError::new(TransferErrorKind::Cancelled, "cancelled"));
            }
            let n = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(TransferError::flaky(format!(
                        "the connection broke after {} bytes: {}",
                        part.len(),
                        os::io_reason(&error)
                    )));
                }
            };
            if part.len() + n as u64 > total.unwrap_or(config.size_max_bytes) {
                return Err(TransferError::last(format!(
                    "the server sends more than the {} bytes {}",
                    total.unwrap_or(config.size_max_bytes),
                    if total.is_some() { "it announced" } else { "allowed" }
                )));
            }
            part.append(&buffer[..n]).map_err(local)?;
            progress(part.len(), total);
        }
        match total {
            Some(total) if part.len() < total => {
                Err(TransferError::flaky(format!("the connection ended after {} of {total} bytes", part.len())))
            }
            _ => Ok(()),
        }
    }

    /// Asks, with a body to post or without one, and returns the answer, if it is a good one, with
    /// where it came from.
    ///
    /// # Errors
    /// When there is no answer, or it says that it is none.
    pub fn exchange(
        &self,
        config: &FetchConfig,
        start: &Url,
        headers: &[(String, String)],
        body: Option<&[u8]>,
    ) -> Result<(ureq::http::Response<ureq::Body>, Url), TransferError> {
        let (response, url) = self.request(config, start, headers, body)?;
        match response.status() {
            StatusCode::OK => Ok((response, url)),
            status => Err(status_error(status, response.headers())),
        }
    }

    /// Sends the request and follows redirects to the answer that is none. A posted body is not
    /// posted elsewhere.
    fn request(
        &self,
        config: &FetchConfig,
        start: &Url,
        headers: &[(String, String)],
        body: Option<&[u8]>,
    ) -> Result<(ureq::http::Response<ureq::Body>, Url), TransferError> {
        let mut url = start.clone();
        let mut hops = 0;
        loop {
            let (agent, proxy_login) = self.agent(config, &url)?;
            let wire = url.to_string();
            let wire = percent_encoding::utf8_percent_encode(&wire, TO_ENCODE).to_string();
            let mut request = ureq::http::Request::builder().uri(&wire).header(header::ACCEPT_ENCODING, "identity");
            for (name, value) in headers {
                request = request.header(name, value);
            }
            if let Some(login) = proxy_login {
                request = request.header(header::PROXY_AUTHORIZATION, basic(login));
            }
            if let Some(login) = login(config, start, &url) {
                request = request.header(header::AUTHORIZATION, basic(login));
            }
            let answer = match body {
                None => request.body(()).map_err(ureq::Error::Http).and_then(|request| agent.run(request)),
                Some(body) => {
                    let request = request.method(Method::POST).body(body).map_err(ureq::Error::Http);
                    request.and_then(|request| agent.run(request))
                }
            };
            let mut response = answer.map_err(|error| classify(error, config))?;
            if body.is_some() || !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok((response, url));
            }
            let next = redirect_target(&url, response.status(), response.headers())?;
            hops += 1;
            if hops > config.redirects_max {
                return Err(TransferError::last(format!(
                    "redirected more than {} times, at last to `{next}`",
                    config.redirects_max
                )));
            }
            // Reading a short body to its end lets the connection be used again.
            let _ = std::io::copy(&mut response.body_mut().as_reader().take(1 << 16), &mut std::io::sink());
            url = next;
        }
    }

    /// Returns the pool for the way to `url`, and the login of the proxy where we have to send it.
    fn agent(&self, config: &FetchConfig, url: &Url) -> Result<(Agent, Option<(String, String)>), TransferError> {
        let proxy = config.proxies.proxy_for(url.scheme, &url.host, url.port);
        let mut proxy_login = None;
        let route = match proxy {
            None if url.scheme == "https" => Route::DirectTls,
            None => Route::Direct,
            Some(proxy) => {
                let full = if proxy.contains("://") { proxy.to_owned() } else { format!("http://{proxy}") };
                if url.scheme == "http" && full.starts_with("http://") {
                    let parsed = Url::parse(&full).map_err(|reason| bad_proxy(proxy, &reason))?;
                    proxy_login = parsed.user_info.as_deref().map(split_login);
                    Route::Forward(parsed.to_string())
                } else {
                    Route::Tunnel(full)
                }
            }
        };
        let mut agents = os::lock(&self.agents);
        if let Some(agent) = agents.get(&route) {
            return Ok((agent.clone(), proxy_login));
        }
        let mut tls = TlsConfig::builder();
        if url.scheme == "https" || matches!(&route, Route::Tunnel(_)) {
            let roots = self.roots.get_or_init(|| load_roots(config)).clone();
            tls = tls.root_certs(roots.map_err(TransferError::last)?);
        }
        let tunnel = match &route {
            Route::Tunnel(proxy) => Some(Proxy::new(proxy).map_err(|error| bad_proxy(proxy, &error.to_string()))?),
            _ => None,
        };
        let settings = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(tunnel)
            .tls_config(tls.build())
            .user_agent(concat!("eval/", env!("CARGO_PKG_VERSION")))
            .max_idle_connections(config.parallel * 2)
            .max_idle_connections_per_host(config.parallel)
            .timeout_resolve(Some(config.connect_timeout))
            .timeout_connect(Some(config.connect_timeout))
            .timeout_recv_response(Some(config.idle_timeout))
            .timeout_per_read(Some(config.idle_timeout))
            .timeout_per_write(Some(config.idle_timeout))
            .build();
        let agent = match &route {
            Route::Forward(proxy) => {
                let proxy: Uri = proxy.parse().map_err(|_| bad_proxy(proxy, "not a URL"))?;
                let connector = ().chain(TcpConnector::default()).chain(AbsoluteForm);
                Agent::with_parts(settings, connector, ToProxy { proxy, inner: DefaultResolver::default() })
            }
            _ => Agent::new_with_config(settings),
        };
        agents.insert(route, agent.clone());
        Ok((agent, proxy_login))
    }
}

/// Returns where a redirect leads; https never leads to http.
fn redirect_target(url: &Url, status: StatusCode, headers: &HeaderMap) -> Result<Url, TransferError> {
    let location = text(headers, header::LOCATION)
        .ok_or_else(|| TransferError::last(format!("HTTP {} without a `Location`", status.as_u16())))?;
    let next = url
        .join(location)
        .map_err(|reason| TransferError::last(format!("redirected to `{}`: {reason}", url::redact(location))))?;
    if url.scheme == "https" && next.scheme == "http" {
        return Err(TransferError::last(format!(
            "redirected from https to `{next}`, which anyone on the network could change"
        )));
    }
    Ok(next)
}

fn part_name(url: &Url) -> &str {
    url.path.rsplit('/').next().unwrap_or_default()
}

fn bad_proxy(proxy: &str, reason: &str) -> TransferError {
    TransferError::last(format!("the proxy `{}` cannot be used: {reason}", url::redact(proxy)))
}

/// Returns what to log in to `url` with: what the first URL says, as long as it is the same server,
/// else the netrc.
fn login(config: &FetchConfig, start: &Url, url: &Url) -> Option<(String, String)> {
    let user_info = url.user_info.as_deref().or(start.user_info.as_deref().filter(|_| url.same_origin(start)));
    match user_info {
        Some(user_info) => Some(split_login(user_info)),
        None => {
            let host = url.host.trim_matches(['[', ']']);
            config.netrc.lookup(host).map(|(user, password)| (user.to_owned(), password.to_owned()))
        }
    }
}

fn split_login(user_info: &str) -> (String, String) {
    let decode = |text| String::from_utf8_lossy(&url::percent_decode(text)).into_owned();
    let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
    (decode(user), decode(password))
}

fn basic((user, password): (String, String)) -> String {
    format!("Basic {}", BASE64.encode(format!("{user}:{password}").as_bytes()))
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// Returns what `If-Range` may carry: an `ETag` that is not weak, else the date of the last change.
fn strong_validator(headers: &HeaderMap) -> Option<String> {
    text(headers, header::ETAG)
        .filter(|tag| tag.starts_with('"'))
        .or_else(|| text(headers, header::LAST_MODIFIED))
        .filter(|validator| !validator.contains('\n'))
        .map(str::to_owned)
}

#[derive(Debug, PartialEq, Eq)]
struct ContentRange {
    start: Option<u64>,
    total: Option<u64>,
}

/// Reads `bytes 10-19/20`, `bytes 10-19/*` and `bytes */20`.
fn parse_content_range(value: &str) -> Option<ContentRange> {
    let (range, total) = value.trim().strip_prefix("bytes")?.trim_start().split_once('/')?;
    let start = match range.trim() {
        "*" => None,
        range => Some(range.split_once('-')?.0.trim().parse().ok()?),
    };
    Some(ContentRange { start, total: total.trim().parse().ok() })
}

fn status_error(status: StatusCode, headers: &HeaderMap) -> TransferError {
    let reason = match status.canonical_reason() {
        Some(reason) => format!("HTTP {} {reason}", status.as_u16()),
        None => format!("HTTP {}", status.as_u16()),
    };
    let kind = match status.as_u16() {
        408 | 425 | 429 | 500 | 502 | 503 | 504 => TransferErrorKind::Flaky,
        _ => TransferErrorKind::Final,
    };
    let retry_after = text(headers, header::RETRY_AFTER).and_then(|value| value.parse().ok()).map(Duration::from_secs);
    TransferError { kind, reason, retry_after }
}

fn classify(error: ureq::Error, config: &FetchConfig) -> TransferError {
    use ureq::Error as E;
    if config.cancel.load(Ordering::Relaxed) {
        return TransferError::new(TransferErrorKind::Cancelled, "cancelled");
    }
    let (kind, reason) = match &error {
        E::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
            (TransferErrorKind::Unreachable, format!("no connection within {} s", config.connect_timeout.as_secs_f32()))
        }
        E::Timeout(_) => {
            (TransferErrorKind::Flaky, format!("no answer within {} s", config.idle_timeout.as_secs_f32()))
        }
        E::HostNotFound => (TransferErrorKind::Unreachable, "the host name cannot be resolved".to_owned()),
        E::ConnectionFailed => (TransferErrorKind::Unreachable, "the connection failed".to_owned()),
        E::ConnectProxyFailed(reason) => (TransferErrorKind::Flaky, format!("the proxy refused: {reason}")),
        E::Io(error) => {
            let unreachable = matches!(
                error.kind(),
                ErrorKind::ConnectionRefused
                    | ErrorKind::HostUnreachable
                    | ErrorKind::NetworkUnreachable
                    | ErrorKind::AddrNotAvailable
                    | ErrorKind::NetworkDown
            ) || error.to_string().contains("failed to lookup address");
            // A certificate that is not trusted arrives as an input error from the TLS layer, and
            // stays.
            let kind = match error.kind() {
                _ if unreachable => TransferErrorKind::Unreachable,
                ErrorKind::InvalidData => TransferErrorKind::Final,
                _ => TransferErrorKind::Flaky,
            };
            (kind, os::io_reason(error))
        }
        E::Rustls(error) => (TransferErrorKind::Final, format!("TLS: {error}")),
        E::Tls(error) => (TransferErrorKind::Final, format!("TLS: {error}")),
        E::Protocol(error) => (TransferErrorKind::Flaky, format!("the server's answer is not HTTP: {error}")),
        error => (TransferErrorKind::Final, error.to_string()),
    };
    TransferError::new(kind, reason)
}

/// Reads the trusted certificates of the configuration.
fn load_roots(config: &FetchConfig) -> Result<RootCerts, String> {
    if config.ca_files.is_empty() && config.ca_directories.is_empty() {
        return Ok(RootCerts::WebPki);
    }
    let mut files = Vec::new();
    for path in &config.ca_files {
        let bytes = fs::read(path).map_err(|error| {
            format!("cannot read the certificates in `{}`: {}", path.display(), os::io_reason(&error))
        })?;
        files.push(bytes);
    }
    for directory in &config.ca_directories {
        let entries = fs::read_dir(directory).map_err(|error| {
            format!("cannot read the certificates in `{}`: {}", directory.display(), os::io_reason(&error))
        })?;
        let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort();
        files.extend(paths.iter().filter(|path| path.is_file()).filter_map(|path| fs::read(path).ok()));
    }
    let mut certificates: Vec<Certificate<'static>> = Vec::new();
    for bytes in &files {
        for item in ureq::tls::parse_pem(bytes) {
            if let Ok(PemItem::Certificate(certificate)) = item {
                certificates.push(certificate);
            }
        }
    }
    certificates.sort_by(|a, b| a.der().cmp(b.der()));
    certificates.dedup_by(|a, b| a.der() == b.der());
    if certificates.is_empty() {
        let places: Vec<_> =
            config.ca_files.iter().chain(&config.ca_directories).map(|path| path.display().to_string()).collect();
        return Err(format!(
            "no certificate is in {}; set SSL_CERT_FILE to a file of PEM certificates",
            places.join(", ")
        ));
    }
    Ok(RootCerts::Specific(Arc::new(certificates)))
}

/// Resolves every host to the proxy.
#[derive(Debug)]
struct ToProxy {
    proxy: Uri,
    inner: DefaultResolver,
}

impl Resolver for ToProxy {
    fn resolve(
        &self,
        _: &Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        self.inner.resolve(&self.proxy, config, timeout)
    }
}

/// Completes `GET /path` to `GET http://host/path`, and `POST` alike.
#[derive(Debug)]
struct AbsoluteForm;

impl<In: Transport> Connector<In> for AbsoluteForm {
    type Out = AbsoluteFormTransport<In>;

    fn connect(&self, details: &ConnectionDetails, chained: Option<In>) -> Result<Option<Self::Out>, ureq::Error> {
        let authority = details.uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
        let authority = authority.rsplit('@').next().unwrap_or_default();
        let origin = format!("http://{authority}");
        Ok(chained.map(|inner| AbsoluteFormTransport { inner, origin }))
    }
}

struct AbsoluteFormTransport<In> {
    inner: In,
    origin: String,
}

impl<In: Transport> Transport for AbsoluteFormTransport<In> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        // Only the head of a request starts so: a body that Git posts starts with the length of a
        // line in hexadecimal digits.
        let output = self.inner.buffers().output();
        let start = ["GET /", "POST /"].into_iter().find(|start| output[..amount].starts_with(start.as_bytes()));
        let Some(start) = start else { return self.inner.transmit_output(amount, timeout) };
        let longer = amount + self.origin.len();
        if longer > output.len() {
            return Err(ureq::Error::LargeResponseHeader(longer, output.len()));
        }
        let at = start.len() - 1;
        output.copy_within(at..amount, at + self.origin.len());
        output[at..at + self.origin.len()].copy_from_slice(self.origin.as_bytes());
        self.inner.transmit_output(longer, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }
}

impl<In: Transport> fmt::Debug for AbsoluteFormTransport<In> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AbsoluteFormTransport").field("origin", &self.origin).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_stays_https() {
        let target = |from: &str, location: &'static str| {
            let headers = [(header::LOCATION, location.parse().unwrap())].into_iter().collect();
            let target = redirect_target(&Url::parse(from).unwrap(), StatusCode::FOUND, &headers);
            target.map(|url| url.to_string()).map_err(|error| error.reason)
        };
        assert_eq!(target("https://a.example/x", "/y").unwrap(), "https://a.example/y");
        assert_eq!(target("http://a.example/x", "https://b.example/y").unwrap(), "https://b.example/y");
        let refused = target("https://a.example/x", "http://a.example/y").unwrap_err();
        assert_eq!(refused, "redirected from https to `http://a.example/y`, which anyone on the network could change");
    }

    #[test]
    fn content_ranges() {
        assert_eq!(parse_content_range("bytes 10-19/20"), Some(ContentRange { start: Some(10), total: Some(20) }));
        assert_eq!(parse_content_range("bytes 10-19/*"), Some(ContentRange { start: Some(10), total: None }));
        assert_eq!(parse_content_range("bytes */20"), Some(ContentRange { start: None, total: Some(20) }));
        assert_eq!(parse_content_range("pages 1-2/3"), None);
        assert_eq!(parse_content_range("bytes x-2/3"), None);
    }
}
