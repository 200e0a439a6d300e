//! `mirror://NAME/path`: one URL for many hosts.
//!
//! No host name is compiled in. A name stands for the mirrors the user configured, and `debian`
//! falls back on the mirrors this machine's apt uses. The last resort is a permanent archive, which
//! the derivation itself gives as a further URL in its list. Only the package can know which
//! archive keeps its files.

use super::FetchConfig;
use super::error::AttemptKind;

/// Returns the real URLs that one URL of a derivation stands for; the error says why there is none.
pub(super) fn expand(config: &FetchConfig, url: &str) -> Result<Vec<String>, (String, AttemptKind)> {
    let Some(rest) = url.strip_prefix("mirror://") else { return Ok(vec![url.to_owned()]) };
    let Some((name, path)) = rest.split_once('/') else {
        return Err(("a mirror URL is written `mirror://NAME/path`".to_owned(), AttemptKind::Final));
    };
    let urls: Vec<String> = config
        .mirrors
        .iter()
        .filter(|(known, _)| known == name)
        .map(|(_, base)| format!("{}/{}", base.trim_end_matches('/'), path.trim_start_matches('/')))
        .collect();
    if urls.is_empty() {
        let known: std::collections::BTreeSet<&str> = config.mirrors.iter().map(|(name, _)| name.as_str()).collect();
        let known: Vec<&str> = known.into_iter().collect();
        let reason = match known.as_slice() {
            [] => format!("not tried: no mirror named `{name}` is configured"),
            known => format!("not tried: no mirror named `{name}` is configured, only {}", known.join(", ")),
        };
        return Err((reason, AttemptKind::NoMirror { name: name.to_owned() }));
    }
    Ok(urls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_for_all_their_mirrors() {
        let mut config = FetchConfig::new("/nonexistent");
        let mirror = |name: &str, base: &str| (name.to_owned(), base.to_owned());
        config.mirrors = vec![
            mirror("debian", "http://a.example/debian/"),
            mirror("gnu", "http://g.example"),
            mirror("debian", "http://b.example/d"),
        ];
        assert_eq!(
            expand(&config, "mirror://debian/pool/x.deb").unwrap(),
            ["http://a.example/debian/pool/x.deb", "http://b.example/d/pool/x.deb"]
        );
        assert_eq!(expand(&config, "http://x.example/y").unwrap(), ["http://x.example/y"]);
        assert_eq!(
            expand(&config, "mirror://kde/x").unwrap_err(),
            (
                "not tried: no mirror named `kde` is configured, only debian, gnu".to_owned(),
                AttemptKind::NoMirror { name: "kde".to_owned() }
            )
        );
        assert!(expand(&config, "mirror://debian").is_err());
    }
}
