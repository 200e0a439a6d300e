//! The proxy of a request, by the variables that every downloader knows.
//!
//! `http_proxy` is for http URLs, `https_proxy` for https ones, `all_proxy` for both; `no_proxy`
//! lists the hosts that are reached directly: `*`, host names (which cover their subdomains, with
//! or without a dot in front), addresses, address ranges (`10.0.0.0/8`), each with an optional
//! port. An address matches only as written; names are not resolved for it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

/// Proxies by the scheme of the URL that is wanted, and the exceptions.
#[derive(Clone, Default)]
pub struct ProxyRules {
    /// Proxy for `http://` URLs.
    pub http: Option<String>,
    /// Proxy for `https://` URLs.
    pub https: Option<String>,
    /// Hosts reached without a proxy, as in `no_proxy`.
    pub exceptions: Vec<String>,
}

impl ProxyRules {
    /// Reads the rules from environment variables; the small spelling wins over the capitals.
    pub fn from_environment(environment: &BTreeMap<String, String>) -> Self {
        let get = |name: &str| environment.get(name).or_else(|| environment.get(&name.to_uppercase())).cloned();
        let all = get("all_proxy");
        // In a CGI `HTTP_PROXY` is the client's `Proxy:` header.
        let http = if environment.contains_key("REQUEST_METHOD") {
            environment.get("http_proxy").cloned()
        } else {
            get("http_proxy")
        };
        let exceptions = get("no_proxy").unwrap_or_default();
        Self {
            http: http.or_else(|| all.clone()),
            https: get("https_proxy").or(all),
            exceptions: exceptions
                .split([',', ' '])
                .map(str::trim)
                .filter(|e| !e.is_empty())
                .map(str::to_owned)
                .collect(),
        }
    }

    /// Returns the proxy for a URL of this scheme, host and port; none when it is reached directly.
    pub fn proxy_for(&self, scheme: &str, host: &str, port: u16) -> Option<&str> {
        let proxy = match scheme {
            "http" => self.http.as_deref(),
            "https" => self.https.as_deref(),
            _ => None,
        }?;
        let excepted = self.exceptions.iter().any(|exception| exception_matches(exception, host, port));
        (!excepted).then_some(proxy)
    }
}

/// Shows the hosts but no passwords.
impl fmt::Debug for ProxyRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyRules")
            .field("http", &self.http.as_deref().map(super::url::redact))
            .field("https", &self.https.as_deref().map(super::url::redact))
            .field("exceptions", &self.exceptions)
            .finish()
    }
}

fn exception_matches(exception: &str, host: &str, port: u16) -> bool {
    if exception == "*" {
        return true;
    }
    let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase();
    if let Some((network, bits)) = exception.split_once('/') {
        return match (network.parse(), bits.parse(), host.parse()) {
            (Ok(network), Ok(bits), Ok(address)) => in_network(address, network, bits),
            _ => false,
        };
    }
    if let (Ok(wanted), Ok(address)) = (exception.trim_matches(['[', ']']).parse::<IpAddr>(), host.parse::<IpAddr>()) {
        return wanted == address;
    }
    let (name, wanted_port) = match exception.rsplit_once(':') {
        Some((name, digits)) if !name.contains(':') || name.ends_with(']') => match digits.parse::<u16>() {
            Ok(port) => (name, Some(port)),
            Err(_) => (exception, None),
        },
        _ => (exception, None),
    };
    if wanted_port.is_some_and(|wanted| wanted != port) {
        return false;
    }
    let name = name
        .trim_start_matches("*.")
        .trim_start_matches('.')
        .trim_matches(['[', ']'])
        .trim_end_matches('.')
        .to_ascii_lowercase();
    host == name || host.strip_suffix(&name).is_some_and(|rest| !name.is_empty() && rest.ends_with('.'))
}

fn in_network(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            u32::from(address) & mask == u32::from(network) & mask
        }
        (IpAddr::V6(address), IpAddr::V6(network)) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            u128::from(address) & mask == u128::from(network) & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(pairs: &[(&str, &str)]) -> ProxyRules {
        ProxyRules::from_environment(&pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect())
    }

    #[test]
    fn by_scheme() {
        let both = rules(&[("http_proxy", "http://p:1"), ("ALL_PROXY", "http://q:2")]);
        assert_eq!(both.proxy_for("http", "a.example", 80), Some("http://p:1"));
        assert_eq!(both.proxy_for("https", "a.example", 443), Some("http://q:2"));
        assert_eq!(both.proxy_for("file", "", 0), None);
        let cgi = rules(&[("HTTP_PROXY", "http://evil:1"), ("REQUEST_METHOD", "GET")]);
        assert_eq!(cgi.proxy_for("http", "a.example", 80), None);
    }

    #[test]
    fn exceptions() {
        let rules = rules(&[
            ("http_proxy", "p"),
            ("no_proxy", "localhost, .corp.example,10.0.0.0/8 one.example:81,fd00::/8,::1,*.star.example"),
        ]);
        let direct = |host, port| rules.proxy_for("http", host, port).is_none();
        for host in [
            "localhost",
            "LOCALHOST.",
            "corp.example",
            "a.b.corp.example",
            "10.9.8.7",
            "[fd00::5]",
            "[::1]",
            "x.star.example",
        ] {
            assert!(direct(host, 80), "{host}");
        }
        assert!(direct("one.example", 81));
        for host in ["one.example", "badcorp.example", "11.0.0.1", "[fe80::1]", "localhost.example"] {
            assert!(!direct(host, 80), "{host}");
        }
        assert!(super::exception_matches("*", "anything", 1));
    }
}
