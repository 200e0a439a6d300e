//! Git repositories, local and remote: the files of a commit, or of a working tree with its
//! changes.
//!
//! The crate `gix` reads objects, so no `git` has to be installed, and neither the user's
//! configuration nor a repository's hooks and filters have an effect. Files have the bytes of the
//! repository: line ends are not changed. As in Nix, a working tree is dirty when a tracked file
//! differs from `HEAD` or from the index; untracked files do not belong to it.

mod copy;
mod http;
mod in_place;
mod remote;
mod submodules;
mod tree;
mod worktree;

use super::{Obtained, Sources, local, other};
use gix::{ObjectId, Repository};
use lang::host::{FetchValue, HostError, HostResult};
use std::collections::BTreeMap;
use std::path::Path;
use submodules::Submodules;
use worktree::WorkingTree;

pub(super) use in_place::{Facts, WorkTree, root_of};

/// Request of `fetchGit` and its like.
pub(super) struct Request<'r> {
    pub url: &'r str,
    /// `ref`
    pub reference: Option<&'r str>,
    pub rev: Option<&'r str>,
    pub submodules: bool,
    /// Leave out files that `.gitattributes` marks with `export-ignore`.
    pub export_ignore: bool,
    pub large_files: bool,
    /// Do not count revisions.
    pub shallow: bool,
    /// Give zeros for unknown values: the `rev` of a dirty working tree, the number of revisions.
    pub zeros: bool,
}

type Attributes = BTreeMap<String, FetchValue>;

impl<'r> Request<'r> {
    /// Makes the request for the default branch of a URL.
    pub fn new(url: &'r str) -> Request<'r> {
        Request {
            url,
            reference: None,
            rev: None,
            submodules: false,
            export_ignore: false,
            large_files: false,
            shallow: false,
            zeros: false,
        }
    }
}

pub(super) fn obtain(sources: &Sources, request: &Request<'_>, warn: &dyn Fn(&str)) -> HostResult<Obtained> {
    if request.large_files {
        let what = format!("fetching the Git repository `{}` with `lfs = true`", request.url);
        return Err(HostError::unsupported(&what));
    }
    let Some(directory) = local(request.url) else {
        let fetch = || {
            let (repository, commit, branch) = remote::fetch(sources, request)?;
            Ok(Obtained { branch, ..committed(sources, &repository, commit, request)? })
        };
        return match fetch() {
            Err(_) if copy::remove_damaged(sources, request)? => fetch(),
            obtained => obtained,
        };
    };
    let repository = open(&directory)?;
    if request.rev.is_none()
        && request.reference.is_none()
        && let Some(changed) = changed(sources, &repository, request, warn)?
    {
        return Ok(changed);
    }
    let commit = match (request.rev, request.reference) {
        (Some(rev), _) => revision(rev)?,
        (None, name) => resolve(&repository, name.unwrap_or("HEAD"))?,
    };
    let branch = match (request.rev, request.reference) {
        (None, None) => repository.head_name().ok().flatten().map(|name| name.to_string()),
        _ => None,
    };
    Ok(Obtained { branch, ..committed(sources, &repository, commit, request)? })
}

/// Resolves a branch or tag of a remote repository to a revision; its `HEAD` without one.
pub(super) fn find(sources: &Sources, url: &str, reference: Option<&str>) -> HostResult<String> {
    let request = Request { reference, shallow: true, ..Request::new(url) };
    remote::find(sources, &request).map(|commit| commit.to_string())
}

/// Opens a local repository.
fn open(directory: &Path) -> HostResult<Repository> {
    gix::open_opts(directory, gix::open::Options::isolated())
        .map_err(|error| other(format!("cannot open the Git repository `{}`: {error}", directory.display())))
}

/// Returns an error with its causes.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    for error in std::iter::successors(Some(error), |error| error.source()) {
        let text = error.to_string();
        if texts.last().is_none_or(|last| !last.contains(&text)) {
            texts.push(text);
        }
    }
    texts.join(": ")
}

fn unreadable(repository: &Repository) -> impl Fn(gix::Error) -> HostError {
    let directory = repository.workdir().unwrap_or(repository.git_dir()).to_owned();
    move |error| other(format!("cannot read the Git repository `{}`: {error}", directory.display()))
}

/// Returns the files of a commit.
fn committed(
    sources: &Sources,
    repository: &Repository,
    commit: ObjectId,
    request: &Request<'_>,
) -> HostResult<Obtained> {
    let read = unreadable(repository);
    let found = repository.find_commit(commit).map_err(|error| {
        other(format!("there is no commit '{commit}' in the Git repository `{}`: {error}", request.url))
    })?;
    let mut attributes = Attributes::new();
    add_rev(&mut attributes, &commit.to_string());
    if !request.shallow {
        let is_default = request.rev.is_none() && request.reference.is_none();
        if !is_default && repository.is_shallow().map_err(&read)? {
            return Err(other(format!(
                "'{}' is a shallow Git repository, whose revisions cannot be counted (`shallow = true` does without)",
                request.url
            )));
        }
        attributes.insert("revCount".to_owned(), FetchValue::Int(count_revisions(repository, commit)?));
    } else if request.zeros {
        attributes.insert("revCount".to_owned(), FetchValue::Int(0));
    }
    add_time(&mut attributes, found.time().map_err(&read)?.seconds);
    attributes.insert("submodules".to_owned(), FetchValue::Bool(request.submodules));
    let tree = found.tree_id().map_err(&read)?.detach();
    let archive = if request.export_ignore { "-archive" } else { "" };
    let whole = if request.submodules { "-submodules" } else { "" };
    let path = sources.kept_tree(&format!("git-{commit}{archive}{whole}"), |directory| {
        let export_ignore = request.export_ignore;
        let submodules = match request.submodules {
            true => Some(Submodules::of(sources, repository, tree, request.url, export_ignore)?),
            false => None,
        };
        tree::Checkout { sources, repository, export_ignore, submodules: submodules.as_ref() }.write(tree, directory, 0)
    })?;
    Ok(Obtained { attributes, ..Obtained::tree(path) })
}

/// Counts a commit and those before it; in a shallow repository, those that it has.
fn count_revisions(repository: &Repository, commit: ObjectId) -> HostResult<i64> {
    let read = unreadable(repository);
    let mut count = 0;
    for revision in repository.find_commit(commit).map_err(&read)?.ancestors().all().map_err(&read)? {
        revision.map_err(&read)?;
        count += 1;
    }
    Ok(count)
}

/// Returns the working tree if it is dirty.
fn changed(
    sources: &Sources,
    repository: &Repository,
    request: &Request<'_>,
    warn: &dyn Fn(&str),
) -> HostResult<Option<Obtained>> {
    let Some(workdir) = repository.workdir() else { return Ok(None) };
    let head = repository.head_id().ok().map(gix::Id::detach);
    let tree = WorkingTree::look(repository, workdir, head, request)?;
    if !tree.is_changed {
        return Ok(None);
    }
    if sources.warn_dirty {
        warn(&format!("Git tree '{}' is dirty", workdir.display()));
    }
    let mut attributes = Attributes::new();
    describe_changed(repository, head, request, &mut attributes).map_err(unreadable(repository))?;
    Ok(Some(Obtained { members: Some(tree.members), attributes, ..Obtained::tree(workdir.to_owned()) }))
}

/// Adds `rev` and `shortRev`.
pub(super) fn add_rev(attributes: &mut Attributes, rev: &str) {
    let short = rev.get(..7).unwrap_or(rev);
    attributes.insert("rev".to_owned(), FetchValue::String(rev.to_owned()));
    attributes.insert("shortRev".to_owned(), FetchValue::String(short.to_owned()));
}

/// Adds `lastModified`, and `lastModifiedDate` in the form `19700101000000`.
pub(super) fn add_time(attributes: &mut Attributes, seconds: i64) {
    attributes.insert("lastModified".to_owned(), FetchValue::Int(seconds));
    attributes.insert("lastModifiedDate".to_owned(), FetchValue::String(date(seconds)));
}

/// Formats a time in UTC as `yyyymmddhhmmss`.
fn date(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Years that begin in March, so that a leap day is the last; eras of 400 of them.
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = (era * 400 + year + i64::from(month >= 10), if month < 10 { month + 3 } else { month - 9 });
    format!("{year:04}{month:02}{day:02}{:02}{:02}{:02}", second / 3600, second / 60 % 60, second % 60)
}

fn revision(text: &str) -> HostResult<ObjectId> {
    ObjectId::from_hex(text.as_bytes())
        .map_err(|_| other(format!("'{text}' is not a revision: 40 hexadecimal digits are")))
}

fn resolve(repository: &Repository, name: &str) -> HostResult<ObjectId> {
    let missing = |why: &dyn std::fmt::Display| {
        other(format!("there is no '{name}' in the Git repository `{}`: {why}", repository.git_dir().display()))
    };
    let mut reference = repository.find_reference(name).map_err(|error| missing(&error))?;
    let id = reference.peel_to_id().map_err(|error| missing(&error))?;
    Ok(id.detach())
}

fn describe_changed(
    repository: &Repository,
    head: Option<ObjectId>,
    request: &Request<'_>,
    attributes: &mut Attributes,
) -> Result<(), gix::Error> {
    if request.zeros {
        add_rev(attributes, &"0".repeat(40));
        attributes.insert("revCount".to_owned(), FetchValue::Int(0));
    }
    let mut seconds = 0;
    if let Some(head) = head {
        let text = head.to_string();
        attributes.insert("dirtyRev".to_owned(), FetchValue::String(format!("{text}-dirty")));
        attributes.insert("dirtyShortRev".to_owned(), FetchValue::String(format!("{}-dirty", &text[..7])));
        seconds = repository.find_commit(head)?.time()?.seconds;
    }
    add_time(attributes, seconds);
    attributes.insert("submodules".to_owned(), FetchValue::Bool(request.submodules));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(date(0), "19700101000000");
        assert_eq!(date(951_782_400), "20000229000000");
        assert_eq!(date(1_735_689_599), "20241231235959");
        assert_eq!(date(-1), "19691231235959");
    }
}
