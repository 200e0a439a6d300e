//! A directory with files, a store, and the program run in it.

use crate::normal::normalise;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_eval");

/// Time after which a command is considered hung.
pub const HANG_TIMEOUT: Duration = Duration::from_secs(60);

/// The user `nobody`, who owns no files.
const ORDINARY_USER: u32 = 65534;

const FILES: [(&str, &str); 4] = [
    ("prelude.nix", include_str!("fixtures/prelude.nix")),
    ("corpus/builders.nix", include_str!("../../corpus/lib/builders.nix")),
    ("corpus/fetch.nix", include_str!("../../corpus/lib/fetch.nix")),
    ("corpus/seed.json", include_str!("../../corpus/bootstrap/seed.json")),
];

/// A directory that the program runs in. Removed when dropped.
pub struct Workspace {
    directory: TempDir,
    /// Unique to the workspace; replaces `@nonce@` in files and is removed from texts.
    pub nonce: String,
    store: PathBuf,
    program: PathBuf,
    /// The user who runs the program, if not the one who runs the tests.
    user: Option<u32>,
}

impl Workspace {
    /// Makes a directory with `default.nix`, and the store that all tests share.
    pub fn new(default_nix: &str) -> Workspace {
        static SHARED: OnceLock<PathBuf> = OnceLock::new();
        let store = SHARED.get_or_init(|| {
            let mut first = Workspace::with_own_store("(import ./prelude.nix).shell");
            first.store = Path::new(env!("CARGO_TARGET_TMPDIR")).join("suite-store");
            let ran = first.run(["build", "-f", "default.nix", "--no-link"]);
            assert!(ran.status.success(), "the shell for the tests cannot be built:\n{}", first.text(&ran));
            first.store.clone()
        });
        Workspace { store: store.clone(), ..Workspace::with_own_store(default_nix) }
    }

    /// Makes a directory with `default.nix` and its own empty store.
    pub fn with_own_store(default_nix: &str) -> Workspace {
        let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("the directory for tests can be written");
        Workspace::in_directory(directory, default_nix)
    }

    /// The same for an ordinary user, who can reach only the files in the directory. `None` if an
    /// ordinary user runs the tests already.
    pub fn of_ordinary_user(default_nix: &str) -> Option<Workspace> {
        if !fs::metadata("/proc/self").is_ok_and(|us| us.uid() == 0) {
            return None;
        }
        let directory = TempDir::new().expect("there is a directory for temporary files");
        let mut workspace = Workspace::in_directory(directory, default_nix);
        workspace.program = workspace.path().join("program");
        fs::copy(PROGRAM, &workspace.program).expect("it is our directory");
        workspace.user = Some(ORDINARY_USER);
        workspace.change_owner();
        Some(workspace)
    }

    /// Changes the owner of all files in the directory to the user who runs the program.
    pub fn change_owner(&self) {
        let mut directories = vec![self.path().to_owned()];
        while let Some(directory) = directories.pop().filter(|_| self.user.is_some()) {
            lchown(&directory, self.user, self.user).expect("we are root");
            for entry in fs::read_dir(&directory).expect("it is our directory").flatten() {
                match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    true => directories.push(entry.path()),
                    false => lchown(entry.path(), self.user, self.user).expect("we are root"),
                }
            }
        }
    }

    fn in_directory(directory: TempDir, default_nix: &str) -> Workspace {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
        let nonce = format!("nonce{:x}x{:x}", std::process::id(), since.as_nanos());
        let store = directory.path().join("store");
        let workspace = Workspace { directory, nonce, store, program: PROGRAM.into(), user: None };
        for (name, text) in FILES {
            workspace.write(name, text);
        }
        workspace.write("default.nix", default_nix);
        workspace
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn store(&self) -> &Path {
        &self.store
    }

    /// Writes a file and its parent directories.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().expect("it has a name")).expect("the workspace can be written");
        fs::write(path, text.replace("@nonce@", &self.nonce)).expect("the workspace can be written");
    }

    /// Returns the program with arguments, in the directory, without the caller's configuration.
    pub fn command(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        self.prepare(Command::new(&self.program), args)
    }

    /// Does the same as [`Workspace::command`], in its own session, whose terminal will be the
    /// standard input.
    pub fn command_in_session(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new("setsid");
        // It executes the program, so the process is the same.
        command.arg("--ctty").arg(&self.program);
        self.prepare(command, args)
    }

    /// Does the same as [`Workspace::command`], started by another program such as `unshare`.
    pub fn prepare(&self, mut command: Command, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        for variable in
            ["EVAL_JOBS", "EVAL_CORES", "EVAL_MIRRORS", "EVAL_OFFLINE", "CLICOLOR_FORCE", "COLUMNS", "NIX_PATH"]
        {
            command.env_remove(variable);
        }
        // The tests' servers are on this machine.
        let exceptions = std::env::var("no_proxy").unwrap_or_default();
        command.env("no_proxy", format!("127.0.0.1,{exceptions}"));
        if let Some(user) = self.user {
            command.uid(user).gid(user).env("HOME", self.path());
        }
        command.args(args).current_dir(self.path()).stdin(Stdio::null());
        command.env("EVAL_CONFIG", "").env("EVAL_ROOT", &self.store).env("EVAL_PROGRESS", "plain").env("NO_COLOR", "1");
        command
    }

    pub fn run(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
        self.command(args).output().expect("the program starts")
    }

    /// Runs the program with words split at spaces, and returns its status and output.
    pub fn check(&self, words: &str) -> String {
        self.text(&self.run(words.split_whitespace()))
    }

    /// Returns the standard output of a run that must succeed, without the final newline.
    #[track_caller]
    pub fn stdout(&self, words: &str) -> String {
        let ran = self.run(words.split_whitespace());
        assert!(ran.status.success(), "`{words}` failed:\n{}", self.text(&ran));
        String::from_utf8_lossy(&ran.stdout).trim_end().to_owned()
    }

    /// Returns the JSON that a run prints, even if the run fails.
    #[track_caller]
    pub fn json(&self, words: &str) -> serde_json::Value {
        let ran = self.run(words.split_whitespace());
        serde_json::from_slice(&ran.stdout).unwrap_or_else(|error| panic!("{error}:\n{}", self.text(&ran)))
    }

    /// Returns JSON as normalised text.
    pub fn json_text(&self, json: &serde_json::Value) -> String {
        self.normal(&serde_json::to_string_pretty(json).expect("it was JSON"))
    }

    /// Returns exit status, standard output and standard error as normalised text.
    pub fn text(&self, ran: &Output) -> String {
        let status = ran.status.code().map_or_else(|| ran.status.to_string(), |code| code.to_string());
        let mut text = format!("status: {status}\n");
        for (name, bytes) in [("stdout", &ran.stdout), ("stderr", &ran.stderr)] {
            if !bytes.is_empty() {
                text.push_str(&format!("--- {name}\n{}\n", String::from_utf8_lossy(bytes).trim_end()));
            }
        }
        self.normal(&text)
    }

    pub fn normal(&self, text: &str) -> String {
        let paths = [
            (self.store(), "[STORE]"),
            (self.path(), "[DIR]"),
            (Path::new(PROGRAM), "[PROGRAM]"),
            (Path::new(&self.nonce), "[NONCE]"),
        ];
        normalise(text, &paths)
    }

    /// Starts the program and returns once it has printed `line` on standard error.
    pub fn start_until(&self, words: &str, line: &str) -> Child {
        let mut child = self
            .command(words.split_whitespace())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let mut said = String::new();
        loop {
            let before = said.len();
            let length = stderr.read_line(&mut said).expect("standard error can be read");
            assert!(length > 0, "`{words}` ended without saying `{line}`:\n{said}");
            if said[before..].trim_end() == line {
                break;
            }
        }
        child.stderr = Some(stderr.into_inner());
        child
    }

    /// Waits until no process is left whose arguments contain the nonce, as those of this
    /// workspace's builds do.
    #[track_caller]
    pub fn expect_no_build_left(&self) {
        let start = Instant::now();
        loop {
            let left = self.builds_running();
            if left.is_empty() {
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(5), "still running: {left:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until a build's script runs.
    #[track_caller]
    pub fn wait_for_build(&self) {
        let start = Instant::now();
        while self.builds_running().is_empty() {
            assert!(start.elapsed() < HANG_TIMEOUT, "no build started");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Returns the number of running build scripts: each is the argument of one shell.
    pub fn scripts_running(&self) -> usize {
        self.builds_running().len()
    }

    fn builds_running(&self) -> Vec<String> {
        let processes = fs::read_dir("/proc").expect("/proc is mounted").flatten();
        let arguments = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
        arguments
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .filter(|arguments| arguments.contains(&self.nonce))
            .collect()
    }
}

/// Waits for a started program and returns the rest of its output.
pub fn finish(mut child: Child) -> Output {
    let mut stderr = Vec::new();
    let mut stdout = Vec::new();
    child.stderr.take().expect("it is piped").read_to_end(&mut stderr).expect("standard error can be read");
    child.stdout.take().expect("it is piped").read_to_end(&mut stdout).expect("standard output can be read");
    let status = child.wait().expect("the program is our child");
    Output { status, stdout, stderr }
}

/// Sends a signal to a program that was started and not yet waited for.
pub fn send(child: &Child, signal: &str) {
    let status = Command::new("kill").arg(format!("-{signal}")).arg(child.id().to_string()).status();
    assert!(status.is_ok_and(|status| status.success()), "cannot send {signal}");
}

/// Lets any user enter a directory, or run a program.
pub fn open_to_all(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it is ours");
}
