//! Prepares an action: finds its inputs and computes its key, so that an executor can run it.

use super::Realiser;
use super::job::Job;
use crate::attributes::Attributes;
use crate::derivation::{self, Invocation};
use crate::inputs::Inputs;
use crate::rootfs::United;
use crate::{BuildError, Options, action};
use model::blobs::Blobs;
use model::reapi::{Action, Command};
use model::tree::directories::{DigestsOnly, OverlaidDirectories};
use model::tree::walk::walk;
use model::tree::{Digest, Directories, Node, SizedDigest};
use model::{Derivation, StorePath};
use std::collections::{BTreeMap, BTreeSet};

/// An action with everything that an executor needs to run it.
pub struct PreparedAction<'a> {
    action: Action,
    command: Command,
    /// The digest of the action.
    pub(crate) key: Digest,
    pub(crate) job: &'a Job<'a>,
    pub(crate) inputs: Inputs,
    /// The union of the root trees.
    pub(crate) united: Option<United>,
    pub(crate) invocation: Invocation,
    /// Directories of the inputs, and of their unions.
    directories: &'a dyn Directories,
    /// Contents of the inputs' files.
    blobs: &'a dyn Blobs,
}

impl PreparedAction<'_> {
    /// Returns the message of the Remote Execution API. Its digest is the key of the action cache.
    pub fn action(&self) -> &Action {
        &self.action
    }

    /// Returns the command that the action names.
    pub fn command(&self) -> &Command {
        &self.command
    }

    /// Returns the store path of the derivation that the action realises.
    pub fn drv(&self) -> &StorePath {
        &self.job.node.drv
    }

    /// Returns the paths inside the sandbox at which the command makes its outputs, by name.
    pub fn places(&self) -> &BTreeMap<String, String> {
        &self.invocation.places
    }

    /// Returns true when the build sees a root of its own, and its outputs are made below
    /// `/output`. Otherwise inputs and outputs are at their store paths.
    pub(crate) fn is_rooted(&self) -> bool {
        self.inputs.roots.is_some()
    }

    /// Writes to `to` all that another machine needs to run this action and `to` does not contain:
    /// the action, its command, and every directory and file below the input root.
    ///
    /// # Errors
    /// When an input cannot be read, or `to` be asked or written.
    pub fn upload(&self, to: &dyn Blobs) -> Result<(), BuildError> {
        // The directories above the inputs were hashed only; here they are needed.
        let directories = OverlaidDirectories::new(self.directories);
        let base = self.united.as_ref().map(|united| &united.node);
        let root = self.inputs.root_directory(&directories, base, &self.invocation.build_files)?;
        let made: BTreeMap<Digest, &[u8]> =
            self.invocation.build_files.values().map(|bytes| (Digest::of(bytes), bytes.as_slice())).collect();
        let (mut trees, mut files) = (BTreeSet::new(), BTreeSet::new());
        walk(&directories, &root, |_, node| {
            match *node {
                Node::Directory { digest, size } => trees.insert(SizedDigest { digest, size_bytes: size }),
                Node::File { digest, size, .. } => files.insert(SizedDigest { digest, size_bytes: size }),
                Node::Symlink { .. } => false,
            };
            Ok::<_, BuildError>(true)
        })?;
        for file in to.missing(&Vec::from_iter(files))? {
            match made.get(&file.digest) {
                Some(bytes) => to.write_known(&file, &mut &**bytes)?,
                None => to.write_known(&file, &mut self.blobs.open(&file.digest)?)?,
            }
        }
        for tree in to.missing(&Vec::from_iter(trees))? {
            to.write_known(&tree, &mut directories.load(&tree.digest)?.encode().as_slice())?;
        }
        for message in [self.command.encode(), self.action.encode()] {
            to.write_known(&SizedDigest::of(&message), &mut message.as_slice())?;
        }
        Ok(())
    }

    /// Returns the store paths that the outputs can mention.
    pub(super) fn reference_candidates(&self) -> BTreeSet<StorePath> {
        let mut candidates: BTreeSet<StorePath> = self.inputs.mounted.keys().cloned().collect();
        if !self.is_rooted() {
            candidates.extend(self.job.node.outputs.values().cloned());
        }
        candidates
    }
}

impl Realiser<'_> {
    /// Step 2: finds the inputs of a build and puts its action together.
    pub(super) fn prepare<'a>(&'a self, job: &'a Job<'a>) -> Result<PreparedAction<'a>, BuildError> {
        check_platform(job.derivation, &job.attributes, self.options)?;
        let roots = &*self.services.roots;
        let inputs = Inputs::of(self.store, job.derivation, &job.attributes, &job.direct)?;
        let overlap = job.attributes.words("__overlap")?.unwrap_or_default().join(" ");
        let united = inputs.roots.as_ref().map(|trees| roots.unite(trees, &overlap)).transpose()?;
        let rooted = inputs.roots.is_some();
        let invocation = derivation::invocation(job.derivation, &job.attributes, &job.node.outputs, rooted)?;
        let root = inputs.root_directory(
            &DigestsOnly(&roots.directories),
            united.as_ref().map(|united| &united.node),
            &invocation.build_files,
        )?;
        let (command, action) = action::sandboxed(job.derivation, &invocation, &root, self.options.sandbox_mode);
        let (key, directories, blobs) = (action.digest(), &roots.directories, self.store);
        Ok(PreparedAction { action, command, key, job, inputs, united, invocation, directories, blobs })
    }
}

/// Refuses derivations of another system, and features that no builder here has.
pub(super) fn check_platform(
    derivation: &Derivation,
    attributes: &Attributes<'_>,
    options: &Options,
) -> Result<(), BuildError> {
    let system = String::from_utf8_lossy(&derivation.system).into_owned();
    if system != options.system {
        return Err(BuildError::WrongSystem { system, host: options.system.clone() });
    }
    let features = attributes.words("requiredSystemFeatures")?.unwrap_or_default();
    let missing: Vec<String> =
        features.into_iter().filter(|feature| !options.system_features.contains(feature)).collect();
    if !missing.is_empty() {
        return Err(BuildError::MissingFeatures { features: missing });
    }
    // An output made without what the recipe relies on would be wrong, and no message would say so.
    for name in ["__base", "__metadata"] {
        if attributes.text(name)?.is_some_and(|text| !text.is_empty()) {
            return Err(BuildError::Unsupported { what: format!("`{name}`") });
        }
    }
    if attributes.flag("__network")? {
        return Err(BuildError::Unsupported {
            what: "`__network` (sources are fetched with `builtin:fetchurl`)".into(),
        });
    }
    Ok(())
}
