//! A store, derivations in a line or two, and a record of the events.

use builder::{BuildError, BuildReport, Builder, Event, Executor, Options, Plan, Target};
use model::{Derivation, DerivationHashes, Hash, Ingestion, Output, StoreModel, StorePath, StorePathName};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use store::{Durability, LocalStore, OpenOptions, StoreError};

pub struct World {
    pub store: Arc<LocalStore>,
    pub options: Options,
    pub events: Arc<Mutex<Vec<String>>>,
    /// Runs the builds; the sandbox when `None`.
    pub executor: Option<Arc<dyn Executor>>,
    _dir: Option<tempfile::TempDir>,
}

/// The sandbox's executable; an ordinary user has a copy elsewhere.
pub fn sandbox_child() -> PathBuf {
    std::env::var_os("SANDBOX_RUN").map_or_else(|| env!("CARGO_BIN_EXE_sandbox-run").into(), PathBuf::from)
}

pub fn options() -> Options {
    Options { sandbox_child: Some(sandbox_child()), ..Options::default() }
}

/// A derivation under construction.
pub struct Recipe {
    derivation: Derivation,
    attributes: BTreeMap<String, String>,
}

impl World {
    pub fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let mut world = World::at(&dir.path().join("root"));
        world._dir = Some(dir);
        world
    }

    pub fn at(root: &Path) -> World {
        World::try_at(root).unwrap()
    }

    pub fn try_at(root: &Path) -> Result<World, StoreError> {
        let store = LocalStore::open_with(root, OpenOptions { durability: Durability::Relaxed })?;
        Ok(World { store: Arc::new(store), options: options(), events: Arc::default(), executor: None, _dir: None })
    }

    pub fn builder(&self) -> Builder {
        let events = Arc::clone(&self.events);
        let names: Arc<Mutex<Vec<String>>> = Arc::default();
        let sink = move |event: Event| {
            let mut names = names.lock().unwrap();
            if let Event::Planned { plan } = &event {
                *names = plan.nodes.iter().map(|node| node.name.clone()).collect();
            }
            let text = match event {
                Event::Planned { plan } => format!("planned {}", plan.nodes.len()),
                Event::Started { node } => format!("started {}", names[node]),
                Event::Phase { node, phase } => format!("phase {} {phase}", names[node]),
                Event::LogLine { node, line } => format!("log {} {line}", names[node]),
                Event::Finished { node, origin, .. } => format!("finished {} {origin:?}", names[node]),
                Event::Failed { node, .. } => format!("failed {}", names[node]),
                Event::Blocked { node, by } => format!("blocked {} by {}", names[node], names[by]),
                Event::Waiting { node, holder } => format!("waiting {} {:?}", names[node], holder.pid),
                Event::Building { .. } | Event::Progress { .. } | Event::Warning { .. } => return,
            };
            events.lock().unwrap().push(text);
        };
        let (store, options, sink) = (Arc::clone(&self.store), self.options.clone(), Arc::new(sink));
        match &self.executor {
            Some(executor) => Builder::with_executor(store, options, sink, Arc::clone(executor)),
            None => Builder::new(store, options, sink),
        }
    }

    pub fn plan(&self, drvs: &[&StorePath]) -> Plan {
        let targets: Vec<Target> = drvs.iter().map(|drv| Target::all((*drv).clone())).collect();
        self.builder().plan(&targets).unwrap()
    }

    pub fn build(&self, drvs: &[&StorePath]) -> Result<BuildReport, BuildError> {
        self.events.lock().unwrap().clear();
        let builder = self.builder();
        let targets: Vec<Target> = drvs.iter().map(|drv| Target::all((*drv).clone())).collect();
        builder.realise(builder.plan(&targets)?)
    }

    /// Builds one derivation and returns the path of its output `out` on this machine.
    #[track_caller]
    pub fn built(&self, drv: &StorePath) -> PathBuf {
        if let Err(error) = self.build(&[drv]) {
            panic!("{error}");
        }
        self.physical(drv, "out")
    }

    /// Returns the message of a failing build, with `ROOT` for the store's own path.
    #[track_caller]
    pub fn error(&self, drv: &StorePath) -> String {
        let error = self.build(&[drv]).expect_err("the build is meant to fail").to_string();
        error.replace(self.store.root().to_str().unwrap(), "ROOT")
    }

    pub fn output(&self, drv: &StorePath, name: &str) -> StorePath {
        self.store.derivation(drv).unwrap().output_path(StoreModel::Native, name).unwrap().unwrap()
    }

    pub fn physical(&self, drv: &StorePath, name: &str) -> PathBuf {
        self.store.physical_path(&self.output(drv, name))
    }

    /// Returns the log of the last build of `drv`.
    pub fn log(&self, drv: &StorePath) -> String {
        let mut text = String::new();
        builder::open_log(&self.store, drv).unwrap().expect("it was built").read_to_string(&mut text).unwrap();
        text
    }

    pub fn events(&self) -> Vec<String> {
        self.events.lock().unwrap().clone()
    }

    /// Returns the origin of the node called `name`.
    pub fn ended(&self, name: &str) -> String {
        let prefix = format!("finished {name} ");
        self.events().iter().find_map(|event| event.strip_prefix(&prefix).map(str::to_owned)).unwrap_or_default()
    }

    pub fn write(&self, name: &str, files: serde_json::Value) -> StorePath {
        recipe(name, "builtin:write").set("files", files.to_string()).add(self)
    }

    pub fn union(&self, name: &str, trees: &[&StorePath]) -> Recipe {
        let mut recipe = recipe(name, "builtin:union");
        let mut words = Vec::new();
        for tree in trees {
            words.push(recipe.input(self, tree));
        }
        recipe.set("trees", words.join(" "))
    }

    /// The root with a shell and a few tools, as a store path.
    pub fn shell(&self) -> StorePath {
        let root = tempfile::tempdir().unwrap();
        for tool in
            ["sh", "cat", "mkdir", "ln", "ls", "sleep", "id", "touch", "env", "stat", "rm", "chmod", "mkfifo", "perl"]
        {
            copy_tool(root.path(), tool);
        }
        self.store.add_source(root.path(), StorePathName::new("shell").unwrap(), None).unwrap()
    }

    /// A derivation that runs `script` in the shell's root.
    pub fn script(&self, name: &str, script: &str) -> Recipe {
        let shell = self.shell();
        let mut recipe = recipe(name, "/bin/sh");
        recipe.derivation.args = ["-e", "-c", script].map(|arg| arg.as_bytes().to_vec()).to_vec();
        recipe.derivation.input_sources.insert(shell.clone());
        recipe.set("__rootfs", StoreModel::Native.print(&shell))
    }
}

pub fn recipe(name: &str, builder: &str) -> Recipe {
    Recipe {
        derivation: Derivation {
            name: StorePathName::new(name).unwrap(),
            outputs: BTreeMap::from([("out".to_owned(), Output::Deferred)]),
            input_derivations: BTreeMap::new(),
            input_sources: BTreeSet::new(),
            system: Options::default().system.into_bytes(),
            builder: builder.as_bytes().to_vec(),
            args: Vec::new(),
            env: BTreeMap::new(),
        },
        attributes: BTreeMap::from([("name".to_owned(), name.to_owned())]),
    }
}

impl Recipe {
    pub fn set(mut self, name: &str, value: impl Into<String>) -> Recipe {
        self.attributes.insert(name.to_owned(), value.into());
        self
    }

    pub fn append(mut self, name: &str, value: &str) -> Recipe {
        let text = self.attributes.entry(name.to_owned()).or_default();
        text.push(' ');
        text.push_str(value);
        self
    }

    /// Adds `out` of `drv` as an input and returns its logical path.
    pub fn input(&mut self, world: &World, drv: &StorePath) -> String {
        self.derivation.input_derivations.entry(drv.clone()).or_default().insert("out".to_owned());
        StoreModel::Native.print(&world.output(drv, "out"))
    }

    pub fn needs(mut self, world: &World, drv: &StorePath) -> Recipe {
        self.input(world, drv);
        self
    }

    pub fn root(mut self, world: &World, drv: &StorePath) -> Recipe {
        let path = self.input(world, drv);
        self.append("__rootfs", &path)
    }

    pub fn outputs(mut self, names: &[&str]) -> Recipe {
        self.derivation.outputs = names.iter().map(|name| ((*name).to_owned(), Output::Deferred)).collect();
        self
    }

    pub fn fixed(mut self, hash: &str, ingestion: Ingestion) -> Recipe {
        let parsed = Hash::parse(hash, None).unwrap();
        self.derivation.outputs = BTreeMap::from([("out".to_owned(), Output::Fixed { ingestion, hash: parsed })]);
        self.set("outputHash", hash)
    }

    pub fn add(mut self, world: &World) -> StorePath {
        let env = std::mem::take(&mut self.attributes);
        self.derivation.env = env.into_iter().map(|(name, value)| (name.into_bytes(), value.into_bytes())).collect();
        let hashes = DerivationHashes::new();
        let load = |path: &StorePath| Ok(world.store.derivation(path).unwrap());
        self.derivation.fill_output_paths(StoreModel::Native, &hashes, load).unwrap();
        world.store.add_derivation(&self.derivation).unwrap()
    }
}

/// Copies a program of this machine and the libraries it is linked with to the same paths below
/// `root`.
fn copy_tool(root: &Path, name: &str) {
    let program = ["/bin", "/usr/bin"].iter().map(|dir| Path::new(dir).join(name)).find(|path| path.exists());
    let program = program.unwrap_or_else(|| panic!("this machine has no `{name}`"));
    copy(root, &program, &Path::new("/bin").join(name));
    let output = Command::new("ldd").arg(&program).output().unwrap();
    for word in String::from_utf8_lossy(&output.stdout).split_whitespace().filter(|word| word.starts_with('/')) {
        copy(root, Path::new(word), Path::new(word));
    }
}

fn copy(root: &Path, from: &Path, to: &Path) {
    let to = root.join(to.strip_prefix("/").unwrap());
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    if !to.exists() {
        std::fs::copy(from.canonicalize().unwrap(), to).unwrap();
    }
}

pub fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

impl Recipe {
    pub fn args(mut self, args: &[String]) -> Recipe {
        self.derivation.args = args.iter().map(|arg| arg.as_bytes().to_vec()).collect();
        self
    }

    pub fn source(mut self, path: &StorePath) -> Recipe {
        self.derivation.input_sources.insert(path.clone());
        self
    }

    /// Does the same as [`Recipe::fixed`] with a flat hash, when the text alone does not name the
    /// algorithm.
    pub fn fixed_text(mut self, text: &str, hash: Hash) -> Recipe {
        self.derivation.outputs =
            BTreeMap::from([("out".to_owned(), Output::Fixed { ingestion: Ingestion::Flat, hash })]);
        self.set("outputHash", text)
    }
}

impl Recipe {
    pub fn system(&mut self, system: &str) {
        self.derivation.system = system.as_bytes().to_vec();
    }
}
