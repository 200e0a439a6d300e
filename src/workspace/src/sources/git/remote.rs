//! Remote repositories: requested commits are fetched into a copy in the cache (`copy.rs`), and
//! read from it.
//!
//! A fetched revision is never fetched again; a branch is after an hour.

use super::copy::{LocalCopy, touch};
use super::{Request, chain, http, revision};
use crate::sources::{Sources, other, with_causes};
use gix::error::message;
use gix::progress::Discard;
use gix::protocol::handshake::Ref;
use gix::protocol::transport::Protocol;
use gix::protocol::transport::client::blocking_io::Transport;
use gix::protocol::transport::client::blocking_io::http::connect_http;
use gix::remote::fetch::{Shallow, Tags};
use gix::remote::{Connection, Direction, ref_map};
use gix::url::Scheme;
use gix::{ObjectId, Repository};
use lang::host::{HostError, HostErrorKind, HostResult};
use std::num::NonZeroU32;

/// Fetches the commit of a request unless the copy has it. Returns the copy, the commit, and the
/// branch that the requested name resolves to, if it is one.
///
/// # Errors
/// When the fetch fails.
pub(super) fn fetch(sources: &Sources, request: &Request<'_>) -> HostResult<(Repository, ObjectId, Option<String>)> {
    let url = parse(request.url)?;
    let cannot = |what: &str, error: &gix::Error| {
        with_causes(format!("cannot fetch {what} of the Git repository `{url}`: {}", chain(error)), error)
    };
    let copy = LocalCopy::of(sources, &url, request)?;
    let repository = copy.open()?;
    let depth = if request.shallow { Shallow::DepthAtRemote(NonZeroU32::MIN) } else { Shallow::NoChange };
    let remote = Remote { sources, url: &url, repository: &repository, depth: Some(&depth) };
    let Some(rev) = request.rev else {
        let name = full_name(request.reference);
        let at = format!("refs/eval/names/{name}");
        let stamp = copy.stamp(&name);
        let missing = |error: gix::Error| cannot(&format!("`{name}`"), &error);
        if !sources.is_fresh(&stamp) || repository.try_find_reference(at.as_str()).map_err(other)?.is_none() {
            let refs = remote.fetch(&[format!("+{name}:{at}")]).map_err(missing)?;
            let target = refs.iter().find_map(|found| match found {
                Ref::Symbolic { full_ref_name, target, .. } if *full_ref_name == name => Some(target.to_string()),
                _ => None,
            });
            touch(&stamp, target.as_deref())?;
        }
        let branch = std::fs::read_to_string(&stamp).ok().filter(|branch| !branch.is_empty());
        let mut reference = repository.find_reference(at.as_str()).map_err(missing)?;
        let commit = reference.peel_to_commit().map_err(missing)?.id;
        return Ok((repository, commit, branch));
    };
    let commit = revision(rev)?;
    let missing = |error: gix::Error| cannot(&format!("the commit '{commit}'"), &error);
    if repository.find_commit(commit).is_err() {
        let fetched = remote.fetch(&[format!("+{commit}:refs/eval/revisions/{commit}")]);
        if let Err(error) = fetched {
            // Servers need not send a commit that no name points to, but they send those of
            // branches and tags by name.
            let names = ["heads", "tags"].map(|kind| format!("+refs/{kind}/*:refs/eval/{kind}/*"));
            let whole = Remote { depth: Some(&Shallow::NoChange), ..remote };
            whole.fetch(&names).map_err(|_| missing(error))?;
        }
        repository.find_commit(commit).map_err(|_| missing(message("none of its branches and tags has it").into()))?;
    }
    Ok((repository, commit, None))
}

/// Resolves a branch or tag of a remote repository (by default `HEAD`) to a commit, and fetches
/// nothing.
///
/// # Errors
/// When the repository cannot be reached, or has no such name.
pub(super) fn find(sources: &Sources, request: &Request<'_>) -> HostResult<ObjectId> {
    let url = parse(request.url)?;
    let repository = LocalCopy::of(sources, &url, request)?.open()?;
    let names = match request.reference {
        None => vec!["HEAD".to_owned()],
        Some(name) if name.starts_with("refs/") => vec![name.to_owned()],
        Some(name) => ["heads", "tags"].map(|kind| format!("refs/{kind}/{name}")).into(),
    };
    let specs: Vec<String> = names.iter().map(|name| format!("+{name}:refs/eval/asked/{name}")).collect();
    let remote = Remote { sources, url: &url, repository: &repository, depth: None };
    let name = request.reference.unwrap_or("HEAD");
    let refs = remote
        .fetch(&specs)
        .map_err(|error| other(format!("cannot resolve `{name}` in the Git repository `{url}`: {}", chain(&error))))?;
    let found = names.iter().find_map(|name| {
        let (_, tag, commit) = refs.iter().map(Ref::unpack).find(|(found, ..)| found == name)?;
        commit.or(tag).map(ToOwned::to_owned)
    });
    found.ok_or_else(|| other(format!("the Git repository `{url}` has neither a branch nor a tag `{name}`")))
}

/// Parses a URL, or `user@host:path`.
pub(super) fn parse(text: &str) -> HostResult<gix::Url> {
    let url = gix::Url::try_from(text)
        .map_err(|error| other(format!("`{text}` is not the URL of a Git repository: {error}")))?;
    match url.scheme {
        Scheme::Http | Scheme::Https | Scheme::Ssh | Scheme::Git => Ok(url),
        _ => {
            let message =
                format!("fetching the Git repository `{text}`: only https, http, ssh, git and file are known");
            Err(HostError::new(HostErrorKind::Unsupported, message))
        }
    }
}

/// Returns the full name of a reference: a short one is that of a branch.
fn full_name(reference: Option<&str>) -> String {
    match reference {
        None => "HEAD".to_owned(),
        Some(name) if name == "HEAD" || name.starts_with("refs/") => name.to_owned(),
        Some(name) => format!("refs/heads/{name}"),
    }
}

#[derive(Clone, Copy)]
struct Remote<'r> {
    sources: &'r Sources,
    url: &'r gix::Url,
    repository: &'r Repository,
    /// Extent of the history to fetch; `None` lists the names only.
    depth: Option<&'r Shallow>,
}

impl Remote<'_> {
    /// Fetches, and returns the names that the server lists.
    fn fetch(self, specs: &[String]) -> gix::Result<Vec<Ref>> {
        if self.sources.offline {
            return Err(message("it is in no cache, and `--offline` forbids to fetch it").into());
        }
        let remote = self.repository.remote_at_without_url_rewrite(self.url.clone())?;
        let specs = specs.iter().map(gix::bstr::BStr::new);
        let remote = remote.with_refspecs(specs, Direction::Fetch)?.with_fetch_tags(Tags::None);
        let waiting = self.sources.waiting(&self.url.to_string());
        match self.url.scheme {
            Scheme::Http | Scheme::Https => {
                let client = http::Client::new(self.sources.fetcher(), &self.sources.space, &waiting);
                let transport = connect_http(client, self.url.clone(), Protocol::V2, false);
                self.receive(remote.to_connection_with_transport(transport))
            }
            _ => self.receive(remote.connect(Direction::Fetch)?),
        }
    }

    fn receive<T: Transport>(self, connection: Connection<'_, '_, '_, T>) -> gix::Result<Vec<Ref>> {
        let cancel = &self.sources.fetcher().config().cancel;
        // There is no prompt for a password: the fetcher has those of the URL and of the netrc.
        let connection = connection.with_credentials(|_| Ok(None));
        let prepared = connection.prepare_fetch(Discard, ref_map::Options::default())?;
        let refs = prepared.ref_map().remote_refs.clone();
        let Some(depth) = self.depth else { return Ok(refs) };
        // The size is unknown beforehand, and transports other than HTTP do not check the space
        // again.
        self.sources.space.require(1).map_err(gix::Error::from_error)?;
        if prepared.ref_map().is_missing_required_mapping() {
            return Err(message("it has no such name; a branch is given by its name, a tag as `refs/tags/…`").into());
        }
        prepared.with_shallow(depth.clone()).receive(Discard, cancel)?;
        Ok(refs)
    }
}
