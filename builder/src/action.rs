//! Actions: a derivation once its inputs exist, as a command and the contents that it sees.
//!
//! The key omits everything that cannot change a result: the number of cores, limits, paths on this
//! machine. It includes the version of the sandbox's own promises ([`LAYOUT`]), so a build reuses
//! an old result only when it would find the same environment.

use crate::derivation::{BUILD_DIR, Invocation};
use model::Derivation;
use model::reapi::{Action, Command, Platform};
use model::tree::{Node, SizedDigest};
use sandbox::request::SandboxMode;
use std::collections::BTreeMap;

/// Version of the environment that builds find: mount points, default variables, fixed clock. Each
/// change of it raises the version.
const LAYOUT: &str = "1";

/// Returns the action of a command on a root; the properties gain the layout version.
pub(crate) fn action(command: &Command, input_root: SizedDigest, mut properties: BTreeMap<String, String>) -> Action {
    properties.insert("eval-layout".into(), LAYOUT.into());
    Action { command: SizedDigest::of(&command.encode()), input_root, platform: Platform { properties } }
}

/// Returns the command of a derivation that runs in the sandbox, and its action on the root that it
/// sees.
pub(crate) fn sandboxed(
    derivation: &Derivation,
    invocation: &Invocation,
    input_root: &Node,
    mode: SandboxMode,
) -> (Command, Action) {
    let mut properties =
        BTreeMap::from([("system".to_owned(), String::from_utf8_lossy(&derivation.system).into_owned())]);
    if mode == SandboxMode::Relaxed {
        properties.insert("sandbox".into(), "relaxed".into());
    }
    let command = Command {
        arguments: invocation.argv.clone(),
        environment: invocation.env.clone(),
        output_paths: invocation.places.values().map(|place| place.trim_start_matches('/').to_owned()).collect(),
        working_directory: BUILD_DIR.trim_start_matches('/').to_owned(),
    };
    let Node::Directory { digest, size } = input_root else { unreachable!("the root of a sandbox is a directory") };
    let input_root = SizedDigest { digest: *digest, size_bytes: *size };
    let action = action(&command, input_root, properties);
    (command, action)
}
