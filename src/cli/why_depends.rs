//! `why-depends`: shows the chain of references from one path to another, and the files that hold
//! them.

use super::session::CommandSession;
use super::store::entries;
use super::{Evaluation, Global};
use crate::print::{remark, say};
use crate::report::Failure;
use clap::Args;
use memchr::memmem::Finder;
use model::terminal::in_line;
use model::{StoreModel, StorePath};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::slice::from_ref;
use store::LocalStore;

#[derive(Debug, Args)]
pub struct WhyDepends {
    /// Installable that needs the other, such as `./result` or `.#hello`
    #[arg(value_name = "PACKAGE")]
    pub package: String,
    /// Installable that it needs
    #[arg(value_name = "DEPENDENCY")]
    pub dependency: String,
    /// Show all chains, and not only a shortest one
    #[arg(short, long)]
    pub all: bool,
    /// Show the files that hold the references, with the text around them
    #[arg(long)]
    pub precise: bool,
    /// Print JSON, with the files
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub evaluation: Evaluation,
}

/// The references of the paths between two paths.
struct Chains<'a> {
    store: &'a LocalStore,
    target: StorePath,
    /// References that lead to the target, for each path that has some.
    towards: BTreeMap<StorePath, BTreeSet<StorePath>>,
    /// Steps to the target.
    distance: BTreeMap<StorePath, usize>,
}

impl WhyDepends {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        let session = CommandSession::quiet(global, &self.evaluation)?;
        let start = one(&self.package, session.built_paths(from_ref(&self.package))?)?;
        let target = one(&self.dependency, session.paths(from_ref(&self.dependency))?)?;
        let chains = Chains::find(&session.store, &start, target)?;
        let found = chains.distance.contains_key(&start);
        if self.json {
            let chain = match found {
                true => chains.to_json(&start, self.all)?,
                false => serde_json::Value::Null,
            };
            let model = StoreModel::Native;
            let object = serde_json::json!({
                "version": 1, "package": model.print(&start), "dependency": model.print(&chains.target),
                "depends": found, "chain": chain,
            });
            return say!("{object:#}");
        }
        if !found {
            remark!("`{}` does not depend on `{}`", self.package, self.dependency);
            return Ok(());
        }
        say!("{}", session.store.physical_path(&start).display())?;
        let mut shown = BTreeSet::new();
        chains.print(&start, "", self.all, self.precise, &mut shown)
    }
}

/// Returns the only path, or the first of several outputs.
fn one(name: &str, paths: BTreeSet<StorePath>) -> Result<StorePath, Failure> {
    paths.into_iter().next().ok_or_else(|| Failure::new(format!("`{name}` has no path")))
}

impl<'a> Chains<'a> {
    /// Finds the chains from `start` to `target`.
    fn find(store: &'a LocalStore, start: &StorePath, target: StorePath) -> Result<Chains<'a>, Failure> {
        let mut referrers: BTreeMap<StorePath, BTreeSet<StorePath>> = BTreeMap::new();
        for path in store.closure(start)? {
            for to in store.references(&path)?.into_iter().filter(|to| *to != path) {
                referrers.entry(to).or_default().insert(path.clone());
            }
        }
        let mut towards: BTreeMap<StorePath, BTreeSet<StorePath>> = BTreeMap::new();
        let mut distance = BTreeMap::new();
        if referrers.contains_key(&target) || *start == target {
            distance.insert(target.clone(), 0);
        }
        let mut todo = VecDeque::from([target.clone()]);
        while let Some(to) = todo.pop_front() {
            for from in referrers.get(&to).into_iter().flatten() {
                towards.entry(from.clone()).or_default().insert(to.clone());
                if !distance.contains_key(from) {
                    distance.insert(from.clone(), distance[&to] + 1);
                    todo.push_back(from.clone());
                }
            }
        }
        Ok(Chains { store, target, towards, distance })
    }

    /// Returns the next paths of the chains: the nearest first, or it alone.
    fn next(&self, from: &StorePath, all: bool) -> Vec<&StorePath> {
        if *from == self.target {
            return Vec::new();
        }
        let mut next: Vec<&StorePath> = self.towards.get(from).into_iter().flatten().collect();
        next.sort_by_key(|path| (self.distance[*path], *path));
        next.truncate(if all { usize::MAX } else { 1 });
        next
    }

    fn print(
        &self,
        from: &StorePath,
        indent: &str,
        all: bool,
        precise: bool,
        shown: &mut BTreeSet<StorePath>,
    ) -> Result<(), Failure> {
        let next = self.next(from, all);
        for (number, to) in next.iter().enumerate() {
            let is_last = number + 1 == next.len();
            let (branch, below) = if is_last { ("└───", "    ") } else { ("├───", "│   ") };
            let holders = if precise { self.holders(from, to)? } else { Vec::new() };
            for holder in &holders {
                say!("{indent}│   {}: …{}…", in_line(&holder.file), in_line(&holder.around))?;
            }
            let is_new = shown.insert((*to).clone());
            let again = if is_new || **to == self.target { "" } else { " [shown above]" };
            say!("{indent}{branch}{}{again}", self.store.physical_path(to).display())?;
            if is_new {
                self.print(to, &format!("{indent}{below}"), all, precise, shown)?;
            }
        }
        Ok(())
    }

    fn to_json(&self, from: &StorePath, all: bool) -> Result<serde_json::Value, Failure> {
        let mut references = Vec::new();
        for to in self.next(from, all) {
            let files: Vec<String> = self.holders(from, to)?.into_iter().map(|holder| holder.file).collect();
            let mut object = self.to_json(to, all)?;
            object["files"] = files.into();
            references.push(object);
        }
        let mut object = serde_json::json!({ "path": StoreModel::Native.print(from) });
        if !references.is_empty() {
            object["references"] = references.into();
        }
        Ok(object)
    }

    /// Returns the files and links in `from` that hold a reference to `to`.
    fn holders(&self, from: &StorePath, to: &StorePath) -> Result<Vec<Holder>, Failure> {
        let hash = to.hash_text();
        let finder = Finder::new(hash.as_bytes());
        let mut found = Vec::new();
        search(&self.store.physical_path(from), Path::new(""), &finder, &mut found)?;
        Ok(found)
    }
}

/// A file or link that holds a reference.
struct Holder {
    /// Path inside the store path.
    file: String,
    /// Text around the first reference.
    around: String,
}

/// Bytes shown before and after a reference.
const AROUND: usize = 24;

fn search(at: &Path, name: &Path, finder: &Finder<'_>, found: &mut Vec<Holder>) -> Result<(), Failure> {
    let failure = |cause| Failure::io("cannot read", at, cause);
    let meta = std::fs::symlink_metadata(at).map_err(failure)?;
    let holder = |around| Holder { file: name.display().to_string(), around };
    if meta.is_symlink() {
        let target = std::fs::read_link(at).map_err(failure)?;
        if finder.find(target.as_os_str().as_bytes()).is_some() {
            found.push(holder(format!("-> {}", target.display())));
        }
    } else if meta.is_dir() {
        for entry in entries(at)? {
            search(&at.join(&entry), &name.join(&entry), finder, found)?;
        }
    } else {
        found.extend(first_match(File::open(at).map_err(failure)?, finder).map_err(failure)?.map(holder));
    }
    Ok(())
}

/// Returns the text around the first match in a file, which is read in blocks.
fn first_match(mut file: File, finder: &Finder<'_>) -> std::io::Result<Option<String>> {
    let margin = AROUND + finder.needle().len();
    let mut buffer = vec![0; 1 << 20];
    let mut kept = 0;
    loop {
        let read = file.read(&mut buffer[kept..])?;
        let filled = kept + read;
        let found = finder.find(&buffer[..filled]);
        // A match at the end of a block is shown with the next one, unless there is none.
        if let Some(at) = found.filter(|at| read == 0 || at + margin <= filled) {
            let end = (at + margin).min(filled);
            return Ok(Some(String::from_utf8_lossy(&buffer[at.saturating_sub(AROUND)..end]).into_owned()));
        }
        if read == 0 {
            return Ok(None);
        }
        let keep = filled.min(2 * margin);
        buffer.copy_within(filled - keep..filled, 0);
        kept = keep;
    }
}
