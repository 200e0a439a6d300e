//! Repositories elsewhere: what was asked for of them is fetched into a repository in the cache, and read there.
//!
//! ```text
//! git/<hash of the URL>/            a bare repository, with the whole history of what was asked for
//!     refs/eval/…                   what was fetched, so that the next time only what is new comes
//!     fetched/<hash of a name>      changed when that name was last asked for
//! git/<hash of the URL>-shallow/    likewise, of each commit only its files
//! ```
//!
//! One process at a time changes a repository, and the others wait. A revision that is there is never asked for again; a
//! branch is after an hour.

use std::fs::{self, File};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use gix::error::message;
use gix::progress::Discard;
use gix::protocol::transport::Protocol;
use gix::protocol::transport::client::blocking_io::Transport;
use gix::protocol::transport::client::blocking_io::http::connect_http;
use gix::remote::fetch::{Shallow, Tags};
use gix::remote::{Connection, Direction, ref_map};
use gix::url::Scheme;
use gix::{ObjectId, Repository};
use lang::host::{HostError, HostErrorKind, HostResult};
use store::HashAlgorithm;

use super::{Request, chain, http, revision};
use crate::sources::{FRESH_FOR, Sources, failed, other};

/// Fetches the commit that a request is about, unless it is there, and returns where it is.
///
/// # Errors
/// When it cannot be had.
pub(super) fn fetch(sources: &Sources, request: &Request<'_>) -> HostResult<(Repository, ObjectId)> {
    let url = parse(request.url)?;
    let cannot = |what: &str, error: &gix::Error| {
        other(format!("cannot fetch {what} of the Git repository `{url}`: {}", chain(error)))
    };
    let key = HashAlgorithm::Sha256.hash(url.to_bstring().as_slice()).hex();
    let shallow = if request.shallow { "-shallow" } else { "" };
    let folder = sources.folder("git")?.join(format!("{key}{shallow}"));
    let _lock = lock(&folder.with_extension("lock"))?;
    let repository = open(&folder)?;
    let remote = Remote { sources, url: &url, repository: &repository, is_shallow: request.shallow };
    let Some(rev) = request.rev else {
        let name = full_name(request.reference);
        let at = format!("refs/eval/names/{name}");
        let stamp = folder.join("fetched").join(HashAlgorithm::Sha256.hash(name.as_bytes()).hex());
        let missing = |error: gix::Error| cannot(&format!("`{name}`"), &error);
        if !is_fresh(&stamp) || repository.try_find_reference(at.as_str()).map_err(other)?.is_none() {
            remote.fetch(&[format!("+{name}:{at}")]).map_err(missing)?;
            touch(&stamp)?;
        }
        let mut reference = repository.find_reference(at.as_str()).map_err(missing)?;
        let commit = reference.peel_to_commit().map_err(missing)?.id;
        return Ok((repository, commit));
    };
    let commit = revision(rev)?;
    let missing = |error: gix::Error| cannot(&format!("the commit '{commit}'"), &error);
    if repository.find_commit(commit).is_err() {
        let fetched = remote.fetch(&[format!("+{commit}:refs/eval/revisions/{commit}")]);
        if let Err(error) = fetched {
            // Servers need not give what no name points to; what a branch or tag holds they give by its name.
            let names = ["heads", "tags"].map(|kind| format!("+refs/{kind}/*:refs/eval/{kind}/*"));
            let whole = Remote { is_shallow: false, ..remote };
            whole.fetch(&names).map_err(|_| missing(error))?;
        }
        repository.find_commit(commit).map_err(|_| missing(message("none of its branches and tags has it").into()))?;
    }
    Ok((repository, commit))
}

/// Reads a URL, or `user@host:path`.
fn parse(text: &str) -> HostResult<gix::Url> {
    let url =
        gix::Url::try_from(text).map_err(|error| other(format!("`{text}` is no URL of a Git repository: {error}")))?;
    match url.scheme {
        Scheme::Http | Scheme::Https | Scheme::Ssh | Scheme::Git => Ok(url),
        _ => {
            let message =
                format!("fetching the Git repository `{text}`: only https, http, ssh, git and file are known");
            Err(HostError::new(HostErrorKind::Unsupported, message))
        }
    }
}

/// A name is that of a branch, unless it says more.
fn full_name(reference: Option<&str>) -> String {
    match reference {
        None => "HEAD".to_owned(),
        Some(name) if name == "HEAD" || name.starts_with("refs/") => name.to_owned(),
        Some(name) => format!("refs/heads/{name}"),
    }
}

fn lock(place: &Path) -> HostResult<File> {
    let opened = File::options().create(true).write(true).truncate(false).open(place);
    let locked = opened.and_then(|file| file.lock().map(|()| file));
    locked.map_err(|cause| failed("cannot lock", place, &cause))
}

/// Opens the repository in the cache; one that is not there, or cannot be read, is made anew.
fn open(folder: &Path) -> HostResult<Repository> {
    let options = gix::open::Options::isolated().with(gix::sec::Trust::Full);
    if let Ok(repository) = gix::open_opts(folder, options.clone()) {
        return Ok(repository);
    }
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(|cause| failed("cannot remove", folder, &cause))?;
    }
    gix::ThreadSafeRepository::init_opts(folder, gix::create::Kind::Bare, gix::create::Options::default(), options)
        .map(Into::into)
        .map_err(|error| other(format!("cannot make the Git repository `{}`: {}", folder.display(), chain(&error))))
}

fn is_fresh(stamp: &Path) -> bool {
    let changed = fs::metadata(stamp).and_then(|meta| meta.modified()).ok();
    changed.and_then(|time| time.elapsed().ok()).is_some_and(|age| age < FRESH_FOR)
}

fn touch(stamp: &PathBuf) -> HostResult<()> {
    let parent = stamp.parent().unwrap_or(stamp);
    let written = fs::create_dir_all(parent).and_then(|()| fs::write(stamp, ""));
    written.map_err(|cause| failed("cannot write", stamp, &cause))
}

#[derive(Clone, Copy)]
struct Remote<'r> {
    sources: &'r Sources,
    url: &'r gix::Url,
    repository: &'r Repository,
    is_shallow: bool,
}

impl Remote<'_> {
    fn fetch(self, specs: &[String]) -> gix::Result<()> {
        let remote = self.repository.remote_at_without_url_rewrite(self.url.clone())?;
        let specs = specs.iter().map(gix::bstr::BStr::new);
        let remote = remote.with_refspecs(specs, Direction::Fetch)?.with_fetch_tags(Tags::None);
        let waiting = self.sources.waiting(&self.url.to_string());
        match self.url.scheme {
            Scheme::Http | Scheme::Https => {
                let client = http::Client::new(self.sources.fetcher(), &waiting);
                let transport = connect_http(client, self.url.clone(), Protocol::V2, false);
                self.receive(remote.to_connection_with_transport(transport))
            }
            _ => self.receive(remote.connect(Direction::Fetch)?),
        }
    }

    fn receive<T: Transport>(self, connection: Connection<'_, '_, '_, T>) -> gix::Result<()> {
        let depth = if self.is_shallow { Shallow::DepthAtRemote(NonZeroU32::MIN) } else { Shallow::NoChange };
        let cancel = &self.sources.fetcher().config().cancel;
        // Nobody is asked for a password: the fetcher knows those of the URL and of the netrc.
        let connection = connection.with_credentials(|_| Ok(None));
        let prepared = connection.prepare_fetch(Discard, ref_map::Options::default())?;
        if prepared.ref_map().is_missing_required_mapping() {
            return Err(message("it has no such name; a branch is given by its name, a tag as `refs/tags/…`").into());
        }
        prepared.with_shallow(depth).receive(Discard, cancel)?;
        Ok(())
    }
}
