//! Repositories within repositories, from the file `.gitmodules` of a commit.

use super::{Request, open, remote, tree};
use crate::sources::{Sources, local, other};
use gix::bstr::{BStr, ByteSlice};
use gix::{ObjectId, Repository};
use lang::host::HostResult;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Repositories nested deeper than this are refused: a server can invent one more each time.
const NESTING_MAX: usize = 32;

/// The submodules of a commit.
pub(super) struct Submodules<'s> {
    sources: &'s Sources,
    file: gix::submodule::File,
    /// Base of relative URLs.
    base: String,
    /// Set when the repository is local, so that its submodules may be too.
    is_local: bool,
    /// Directory in which Git keeps the submodules of a clone.
    clones: PathBuf,
    export_ignore: bool,
    /// Number of repositories around this one.
    nesting: usize,
}

impl<'s> Submodules<'s> {
    /// Reads those of a commit's tree, in a repository from `url`.
    pub fn of(
        sources: &'s Sources,
        repository: &Repository,
        tree: ObjectId,
        url: &str,
        export_ignore: bool,
    ) -> HostResult<Submodules<'s>> {
        let read = |error: gix::Error| other(format!("cannot read `.gitmodules` in the tree '{tree}': {error}"));
        let entry =
            repository.find_tree(tree).and_then(|tree| tree.lookup_entry_by_path(".gitmodules")).map_err(read)?;
        let text = match entry {
            Some(entry) => entry.object().map_err(read)?.detach().data,
            None => Vec::new(),
        };
        let file = gix::submodule::File::from_bytes(&text, None, &gix::config::File::default()).map_err(read)?;
        let is_local = local(url).is_some();
        // Relative URLs of a clone's submodules are relative to its origin.
        let origin = repository.config_snapshot().string("remote.origin.url").filter(|_| is_local);
        let base = origin.map_or_else(|| url.to_owned(), |origin| origin.to_string());
        let clones = repository.git_dir().join("modules");
        Ok(Submodules { sources, file, base, is_local, clones, export_ignore, nesting: 0 })
    }

    /// Writes the files of the submodule at `path`, whose commit is `id`, below `directory`.
    pub fn write(&self, path: &Path, id: ObjectId, directory: &Path, depth: usize) -> HostResult<()> {
        let wrong = |why: &str| other(format!("the submodule at '{}' {why}", path.display()));
        if self.nesting == NESTING_MAX {
            return Err(wrong(&format!("is nested in {NESTING_MAX} repositories, and no more are allowed")));
        }
        let name = self.file.name_by_path(BStr::new(path.as_os_str().as_bytes()));
        let name = name.ok_or_else(|| wrong("is not in `.gitmodules`"))?;
        let given = self.file.config().string_by("submodule", Some(name), "url");
        let given = given.ok_or_else(|| wrong("has no `url` in `.gitmodules`"))?.to_string();
        let url = resolved(&self.base, &given)
            .ok_or_else(|| wrong(&format!("has the URL `{given}`, which leads nowhere")))?;
        let (repository, commit) = match (self.clone_of(name, id), local(&url)) {
            (Some(repository), _) => (repository, id),
            (None, Some(place)) if self.is_local => (open(&place)?, id),
            (None, Some(_)) => {
                return Err(wrong(&format!(
                    "has the URL `{url}`: a repository from elsewhere has none on this machine"
                )));
            }
            (None, None) => {
                let rev = id.to_string();
                let request = Request { rev: Some(&rev), submodules: true, shallow: true, ..Request::new(&url) };
                let (repository, commit, _) = remote::fetch(self.sources, &request)?;
                (repository, commit)
            }
        };
        let found = repository.find_commit(commit).and_then(|commit| commit.tree_id());
        let tree = found.map_err(|error| wrong(&format!("has no commit '{commit}' in `{url}`: {error}")))?.detach();
        let inner = Submodules {
            nesting: self.nesting + 1,
            ..Submodules::of(self.sources, &repository, tree, &url, self.export_ignore)?
        };
        let checkout = tree::Checkout {
            sources: self.sources,
            repository: &repository,
            export_ignore: self.export_ignore,
            submodules: Some(&inner),
        };
        checkout.write(tree, directory, depth)
    }

    /// Returns the repository that Git itself fetched for the local clone, if it has the commit.
    fn clone_of(&self, name: &BStr, id: ObjectId) -> Option<Repository> {
        let name = Path::new(name.to_os_str().ok()?);
        let is_plain = name.components().all(|part| matches!(part, Component::Normal(_)));
        let repository = (self.is_local && is_plain).then(|| open(&self.clones.join(name)).ok())??;
        let has_it = repository.find_commit(id).is_ok();
        has_it.then_some(repository)
    }
}

/// Resolves the URL of a submodule: one that begins with `./` or `../` is relative to that of its
/// repository, taken as a directory.
fn resolved(base: &str, url: &str) -> Option<String> {
    if !(url.starts_with("./") || url.starts_with("../")) {
        return Some(url.to_owned());
    }
    // The part before the path of the URL: the server, `user@host:`, or nothing.
    let start = match base.split_once("://") {
        Some((scheme, rest)) => scheme.len() + 3 + rest.find('/').unwrap_or(rest.len()),
        None if base.starts_with('/') => 0,
        None => base.find(':')? + 1,
    };
    let (server, path) = base.split_at(start);
    let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let mut rest = url;
    loop {
        if let Some(after) = rest.strip_prefix("../") {
            parts.pop()?;
            rest = after;
        } else if let Some(after) = rest.strip_prefix("./") {
            rest = after;
        } else {
            break;
        }
    }
    parts.push(rest);
    let root = if server.ends_with(':') && !path.starts_with('/') { "" } else { "/" };
    Some(format!("{server}{root}{}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_relative_to_the_repository() {
        let url = |base, url| resolved(base, url).unwrap_or_default();
        assert_eq!(url("https://example.org/a/b.git", "../c.git"), "https://example.org/a/c.git");
        assert_eq!(url("https://example.org/a/b.git/", "../../c/d"), "https://example.org/c/d");
        assert_eq!(url("https://example.org/a/b", "./c"), "https://example.org/a/b/c");
        assert_eq!(url("/srv/a", "../b"), "/srv/b");
        assert_eq!(url("git@example.org:a/b", "../c"), "git@example.org:a/c");
        assert_eq!(url("git@example.org:b", "../c"), "git@example.org:c");
        assert_eq!(url("https://example.org/a", "https://example.com/b"), "https://example.com/b");
        assert_eq!(resolved("/a", "../../../b"), None);
        assert_eq!(resolved("https://example.org/a", "../../b"), None);
        assert_eq!(resolved("git@example.org:a", "../../b"), None);
        assert_eq!(resolved("a", "../b"), None);
    }
}
