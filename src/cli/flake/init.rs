//! `flake init` and `flake new`: a flake from a template. Files that exist stay as they are.

use super::session::text_at;
use crate::cli::locking::Locking;
use crate::cli::session::CommandSession;
use crate::cli::{Evaluation, Global};
use crate::print::remark;
use crate::report::Failure;
use clap::Args;
use lang::flake::FlakeRef;
use lang::text::attr_path::AttrPath;
use model::StoreModel;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub struct Init {
    /// Template: `REF#NAME` in the outputs `templates` of a flake [default: a package of one's own
    /// with the tools of this project]
    #[arg(short, long, value_name = "REF")]
    pub template: Option<String>,
    #[command(flatten)]
    pub locking: Box<Locking>,
}

/// The template of this project, by file; `@eval@` is the reference to its repository.
const OWN: [(&str, &str); 2] = [
    ("flake.nix", include_str!("template/flake.nix")),
    ("packages/greeting.nix", include_str!("template/packages/greeting.nix")),
];

/// Stands for the repository of this project where that is not known.
const PLACEHOLDER: &str = "git+file:///where/you/cloned/eval";

/// A file of a template.
enum Content {
    Text(Vec<u8>, bool),
    Link(PathBuf),
}

impl Init {
    /// Writes the files of the template below `directory`.
    pub fn run(self, global: &Global, directory: &Path) -> Result<(), Failure> {
        let mut evaluation = Evaluation::default();
        evaluation.source.locking = (*self.locking).clone();
        let session = CommandSession::quiet(global, &evaluation)?;
        let (files, welcome) = match &self.template {
            Some(template) => files_of(&session, template)?,
            None => own_files(&session),
        };
        let present: Vec<&PathBuf> = files
            .iter()
            .filter(|(name, content)| !is_same(&directory.join(name), content))
            .map(|(name, _)| name)
            .filter(|name| directory.join(name).symlink_metadata().is_ok())
            .collect();
        if !present.is_empty() {
            let names: Vec<String> = present.iter().map(|name| format!("`{}`", name.display())).collect();
            return Err(Failure::new(format!("files of the template exist already: {}", names.join(", ")))
                .help("remove them, or make the flake in another directory with `ev flake new DIR`"));
        }
        for (name, content) in &files {
            let path = directory.join(name);
            if path.symlink_metadata().is_ok() {
                continue;
            }
            write(&path, content).map_err(|cause| Failure::io("cannot write", &path, cause))?;
            if !global.quiet {
                remark!("wrote {}", path.display());
            }
        }
        if let Some(welcome) = welcome.filter(|_| !global.quiet) {
            remark!("{}", welcome.trim_end());
        }
        Ok(())
    }
}

type Files = Vec<(PathBuf, Content)>;

/// Returns the files of this project's template, and the next step.
fn own_files(session: &CommandSession) -> (Files, Option<String>) {
    let repository = repository(session);
    let place = repository.as_deref().unwrap_or(PLACEHOLDER);
    let file = |(name, text): &(&str, &str)| {
        (PathBuf::from(name), Content::Text(text.replace("@eval@", place).into_bytes(), false))
    };
    let next = match repository {
        Some(_) => "next: `ev build .#greeting && cat result`".to_owned(),
        None => {
            "next: change the url of `eval` in flake.nix to that of a clone, then `ev build .#greeting && cat result`"
                .to_owned()
        }
    };
    (OWN.iter().map(file).collect(), Some(next))
}

/// Returns the reference to the repository of this project: the name `eval` of a registry, or the
/// clone that this program was compiled in.
fn repository(session: &CommandSession) -> Option<String> {
    if let Ok(reference) = session.flake_reference("flake:eval") {
        return reference.to_url().ok();
    }
    let program = session.settings().program.clone()?;
    let clone = program.ancestors().find(|directory| directory.join("corpus/lib/at.nix").is_file())?;
    let kind = if clone.join(".git").exists() { "git+file://" } else { "path:" };
    Some(format!("{kind}{}", clone.display()))
}

/// Returns the files of a flake's template, and its text of welcome.
fn files_of(session: &CommandSession, template: &str) -> Result<(Files, Option<String>), Failure> {
    let (text, name) = FlakeRef::split_fragment(template);
    let reference = session.flake_reference(text)?;
    session.lock_flake(&reference)?;
    let wanted: Vec<AttrPath> = match name.as_deref().unwrap_or_default() {
        "" => vec![["templates", "default"].into_iter().collect(), ["defaultTemplate"].into_iter().collect()],
        name => vec![
            ["templates", name].into_iter().collect(),
            AttrPath::parse(name).map_err(workspace::installable::InstallableError::from)?,
        ],
    };
    let (path, welcome) = session.output(&reference, &wanted, |evaluator, template| {
        let path = evaluator.attr(template, "path")?;
        let path = path.map(|path| evaluator.string_of(path)).transpose()?;
        Ok((path, text_at(evaluator, template, &["welcomeText"])))
    })?;
    let path = path.ok_or_else(|| Failure::new(format!("the template `{template}` has no `path`")))?;
    // A path in the flake has been copied to the store; a string could name any file of this machine.
    let (object, below) = StoreModel::Native.split(&path).map_err(|_| {
        Failure::new(format!("the `path` of the template `{template}`, '{path}', is not in the store"))
            .help("write it as a path such as `./template`, and not as a string")
    })?;
    let path = session.store.physical_path(&object).join(below.trim_start_matches('/'));
    let mut files = Vec::new();
    read(&path, Path::new(""), &mut files).map_err(|cause| Failure::io("cannot read", &path, cause))?;
    Ok((files, welcome))
}

fn read(path: &Path, name: &Path, files: &mut Files) -> std::io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    if meta.is_dir() {
        let mut entries: Vec<_> = fs::read_dir(path)?.collect::<Result<_, _>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        return entries.iter().try_for_each(|entry| read(&entry.path(), &name.join(entry.file_name()), files));
    }
    let content = match meta.is_symlink() {
        true => Content::Link(fs::read_link(path)?),
        false => Content::Text(fs::read(path)?, meta.permissions().mode() & 0o111 != 0),
    };
    files.push((name.to_owned(), content));
    Ok(())
}

fn is_same(path: &Path, content: &Content) -> bool {
    match content {
        Content::Text(bytes, _) => path.is_file() && fs::read(path).is_ok_and(|found| found == *bytes),
        Content::Link(target) => fs::read_link(path).is_ok_and(|found| found == *target),
    }
}

fn write(path: &Path, content: &Content) -> std::io::Result<()> {
    fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    match content {
        Content::Link(target) => symlink(target, path),
        Content::Text(bytes, is_executable) => {
            fs::write(path, bytes)?;
            if *is_executable {
                fs::set_permissions(
                    path,
                    fs::Permissions::from_mode(fs::metadata(path)?.permissions().mode() | 0o111),
                )?;
            }
            Ok(())
        }
    }
}
