//! URL parsing for fetching: parts, relative references, and hiding passwords.

use std::borrow::Cow;

/// An http or https URL in parts. The path keeps its query; a fragment is dropped, as it never
/// travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// `user:password`, still percent-encoded.
    pub user_info: Option<String>,
    /// Lower case, an IPv6 address in brackets.
    pub host: String,
    pub port: u16,
    /// Starts with a slash.
    pub path: String,
}

impl Url {
    /// Reads an absolute http or https URL; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(bad) = text.chars().find(|c| c.is_control() || *c == ' ' || *c == '\\') {
            return Err(format!("the URL contains the character {bad:?}"));
        }
        let (scheme, rest) = text.split_once("://").ok_or("the URL has no scheme")?;
        let (scheme, default_port) = match scheme.to_ascii_lowercase().as_str() {
            "http" => ("http", 80),
            "https" => ("https", 443),
            other => {
                return Err(format!("the scheme `{other}` is not supported, only http, https, file and mirror are"));
            }
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, path) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let (user_info, host) = match authority.rsplit_once('@') {
            Some((user_info, host)) => (Some(user_info.to_owned()), host),
            None => (None, authority),
        };
        let (host, port) = match host.rsplit_once(':') {
            Some((name, digits)) if !digits.contains(']') => {
                let port = if digits.is_empty() { Ok(default_port) } else { digits.parse() };
                (name, port.map_err(|_| format!("`{digits}` is not a port"))?)
            }
            _ => (host, default_port),
        };
        if host.is_empty() {
            return Err("the URL names no host".to_owned());
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { scheme, user_info, host: host.to_ascii_lowercase(), port, path })
    }

    /// Returns the host, with its port when that is not the scheme's.
    pub fn authority(&self) -> String {
        match (self.scheme, self.port) {
            ("http", 80) | ("https", 443) => self.host.clone(),
            (_, port) => format!("{}:{port}", self.host),
        }
    }

    /// Resolves a `Location` header against this URL.
    pub fn join(&self, location: &str) -> Result<Self, String> {
        let has_scheme = location.split_once(':').is_some_and(|(scheme, _)| {
            !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        });
        if has_scheme {
            return Self::parse(location);
        }
        if let Some(rest) = location.strip_prefix("//") {
            return Self::parse(&format!("{}://{rest}", self.scheme));
        }
        let mut joined = self.clone();
        joined.path = if location.starts_with('/') {
            location.to_owned()
        } else {
            let path = self.path.split('?').next().unwrap_or("/");
            match location.strip_prefix('?') {
                Some(query) => format!("{path}?{query}"),
                None => {
                    let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
                    format!("{directory}/{location}")
                }
            }
        };
        // Parsing again checks the characters that a server sent.
        let user_info = joined.user_info.take();
        joined = Self::parse(&joined.to_string())?;
        joined.user_info = user_info;
        Ok(joined)
    }

    /// Returns true when credentials for this URL may also be sent to `other`.
    pub fn same_origin(&self, other: &Self) -> bool {
        (self.scheme, &self.host, self.port) == (other.scheme, &other.host, other.port)
    }
}

/// Shows the URL without user name and password.
impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        if self.port != (if self.scheme == "https" { 443 } else { 80 }) {
            write!(f, ":{}", self.port)?;
        }
        f.write_str(&self.path)
    }
}

/// Returns host and port of a proxy as it was configured, with or without a scheme and a login.
pub(super) fn authority_of(proxy: &str) -> String {
    let rest = proxy.split_once("://").map_or(proxy, |(_, rest)| rest);
    let rest = rest.split('/').next().unwrap_or_default();
    rest.rsplit_once('@').map_or(rest, |(_, host)| host).to_owned()
}

/// Returns a URL for messages: with the password replaced.
pub fn redact(url: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = url.split_once("://") else { return Cow::Borrowed(url) };
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..authority_end].rfind('@') {
        Some(at) => Cow::Owned(format!("{scheme}://***{}", &rest[at..])),
        None => Cow::Borrowed(url),
    }
}

/// Decodes `%41`; invalid escapes stay as they are.
pub(super) fn percent_decode(text: &str) -> Vec<u8> {
    percent_encoding::percent_decode_str(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let url = Url::parse("HTTPS://u:p%40@Host.Example:8443/a/b?c=d#e").unwrap();
        assert_eq!(
            (url.scheme, url.host.as_str(), url.port, url.path.as_str()),
            ("https", "host.example", 8443, "/a/b?c=d")
        );
        assert_eq!(url.user_info.as_deref(), Some("u:p%40"));
        assert_eq!(url.to_string(), "https://host.example:8443/a/b?c=d");
        assert_eq!(Url::parse("http://[::1]:81").unwrap().to_string(), "http://[::1]:81/");
        for bad in ["x", "ftp://a/b", "http:///x", "http://a b/", "http://a:99999/", "http://a/\r\nX: y"] {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn locations() {
        let base = Url::parse("http://a.example/x/y?q=1").unwrap();
        let join = |location| base.join(location).unwrap().to_string();
        assert_eq!(join("https://b.example/z"), "https://b.example/z");
        assert_eq!(join("//c.example/z"), "http://c.example/z");
        assert_eq!(join("/z"), "http://a.example/z");
        assert_eq!(join("z?r"), "http://a.example/x/z?r");
        assert_eq!(join("?r"), "http://a.example/x/y?r");
        assert!(base.join("file:///etc/passwd").is_err());
        assert!(base.join("/a\r\nb").is_err());
    }

    #[test]
    fn passwords_are_hidden() {
        assert_eq!(redact("http://u:secret@h/p@q"), "http://***@h/p@q");
        assert_eq!(redact("http://h/p@q"), "http://h/p@q");
    }
}
