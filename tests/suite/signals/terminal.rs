//! The program in its own pseudo terminal, as for a user.

use crate::workspace::{HANG_TIMEOUT, Workspace};
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, poll};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The signals that end a command, with the exit status for each.
pub const SIGNALS: [(Signal, i32); 3] = [(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGHUP, 129)];

/// The characters of Ctrl-C and Ctrl-Z.
pub const CTRL_C: &str = "\x03";

/// Bound of an end on a loaded machine; the promise is one second.
const SOON: Duration = Duration::from_secs(15);

pub struct Terminal {
    child: Child,
    keys: File,
    screen: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
    hung_up: Arc<AtomicBool>,
    /// Held open so that the output can be read after the program has ended.
    slave: Option<OwnedFd>,
    attributes: Termios,
}

/// End of the program.
pub struct Ended {
    /// The status as a shell gives it: 128 and the signal, if one has ended the program.
    pub status: i32,
    pub screen: String,
    /// True when the terminal is as it was before the program started.
    pub was_given_back: bool,
}

/// Opens both ends, close-on-exec: no program started at the same time inherits one of them.
fn open_pseudo_terminal() -> std::io::Result<(File, OwnedFd)> {
    let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let slave =
        File::options().read(true).write(true).custom_flags(OFlag::O_NOCTTY.bits()).open(ptsname_r(&master)?)?;
    Ok((File::from(OwnedFd::from(master)), slave.into()))
}

impl Terminal {
    /// Starts the program with words split at spaces.
    pub fn start(workspace: &Workspace, words: &str) -> Terminal {
        let mut terminal = Terminal::unread(workspace.command_in_session(words.split_whitespace()), None);
        terminal.read();
        terminal
    }

    /// Starts a command, whose standard output may be a file; its output to the terminal is not
    /// read yet.
    pub fn unread(mut command: Command, stdout: Option<File>) -> Terminal {
        let (master, slave) = open_pseudo_terminal().expect("there are pseudo terminals");
        let attributes = tcgetattr(&slave).expect("it is a terminal");
        let end = || Stdio::from(slave.try_clone().expect("descriptors are left"));
        command.stdin(end()).stdout(stdout.map_or_else(end, Stdio::from)).stderr(end());
        let child = command.spawn().expect("`setsid` starts the program");
        Terminal {
            child,
            keys: master,
            screen: Arc::default(),
            reader: None,
            hung_up: Arc::default(),
            slave: Some(slave),
            attributes,
        }
    }

    /// Starts to read the output.
    pub fn read(&mut self) {
        let mut master = self.keys.try_clone().expect("descriptors are left");
        let (screen, hung_up) = (self.screen.clone(), self.hung_up.clone());
        self.reader = Some(std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while !hung_up.load(Ordering::SeqCst) {
                let mut ready = [PollFd::new(master.as_fd(), PollFlags::POLLIN)];
                // The end is an error: no process has the other side open any more.
                match poll(&mut ready, 20u8).map(|_| ready[0].any() == Some(true)) {
                    Ok(true) => match master.read(&mut buffer) {
                        Ok(count @ 1..) => {
                            screen.lock().expect("readers do not panic").extend_from_slice(&buffer[..count]);
                        }
                        _ => return,
                    },
                    _ => continue,
                }
            }
        }));
    }

    /// Closes the terminal; the kernel sends SIGHUP to the programs in it.
    pub fn hang_up(&mut self) {
        self.slave = None;
        self.hung_up.store(true, Ordering::SeqCst);
        if let Some(reader) = self.reader.take() {
            reader.join().expect("readers do not panic");
        }
        self.keys = File::open("/dev/null").expect("there is a null device");
    }

    pub fn type_keys(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("the terminal takes keys");
    }

    pub fn send(&self, signal: Signal) {
        kill(self.pid(), signal).expect("the program is our child and not waited for");
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().expect("readers do not panic")).into_owned()
    }

    /// Waits until `text` is on the screen `times` times.
    #[track_caller]
    pub fn wait_for(&self, text: &str, times: usize) {
        let start = Instant::now();
        while self.screen().matches(text).count() < times {
            assert!(start.elapsed() < HANG_TIMEOUT, "`{text}` does not come:\n{}", self.screen());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until the program is blocked.
    #[track_caller]
    pub fn wait_until_it_waits(&self) {
        let (start, mut idle, mut before) = (Instant::now(), 0, String::new());
        while idle < 10 {
            assert!(start.elapsed() < HANG_TIMEOUT, "it does not wait:\n{}", self.screen());
            std::thread::sleep(Duration::from_millis(20));
            let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
            let words: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
            // State, then user and system time; the first program is `setsid`.
            let now = format!("{:?} {:?} {:?}", words.first(), words.get(11), words.get(12));
            let asleep = words.first() == Some(&"S") && !stat.contains("(setsid)");
            idle = if asleep && now == before { idle + 1 } else { 0 };
            before = now;
        }
    }

    /// Waits until the program edits a line.
    #[track_caller]
    pub fn wait_until_it_edits(&self) {
        let start = Instant::now();
        while self.is_as_before() {
            assert!(start.elapsed() < HANG_TIMEOUT, "there is no prompt:\n{}", self.screen());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Returns whether the terminal is as it was before the program started.
    pub fn is_as_before(&self) -> bool {
        self.slave.as_ref().is_some_and(|slave| tcgetattr(slave).is_ok_and(|now| now == self.attributes))
    }

    /// Waits for the end of the program, and of all processes that it has started.
    #[track_caller]
    pub fn end(mut self) -> Ended {
        let status = self.wait();
        // The reader has all earlier output once it has read this mark; a Ctrl-C just typed may
        // discard the mark.
        let end = "[the end]";
        let mut slave = File::from(self.slave.take().expect("it has not hung up"));
        let start = Instant::now();
        while !self.screen().contains(end) {
            assert!(start.elapsed() < HANG_TIMEOUT, "the terminal cannot be read to its end:\n{}", self.screen());
            slave.write_all(end.as_bytes()).expect("it is open");
            std::thread::sleep(Duration::from_millis(20));
        }
        self.slave = Some(slave.into());
        Ended { status, screen: self.screen().replace(end, ""), was_given_back: self.is_as_before() }
    }

    /// Waits likewise without a reader, and returns the exit status.
    #[track_caller]
    pub fn wait(&mut self) -> i32 {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("the program is our child") {
                break status;
            }
            if start.elapsed() > SOON {
                self.send(Signal::SIGKILL);
                panic!("it does not end:\n{}", self.screen());
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        while let left @ [_, ..] = &*self.session() {
            assert!(start.elapsed() < SOON, "still running: {left:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        status.code().or(signal.map(|signal| 128 + signal)).expect("it exited or was killed")
    }

    /// Returns the command lines of the processes in the program's session, of all groups.
    fn session(&self) -> Vec<String> {
        let session = self.child.id().to_string();
        let processes = fs::read_dir("/proc").expect("/proc is mounted").flatten();
        let in_it = processes.filter(|process| {
            let stat = fs::read_to_string(process.path().join("stat")).unwrap_or_default();
            let words: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
            words.first() != Some(&"Z") && words.get(3) == Some(&session.as_str())
        });
        let lines = in_it.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
        lines.map(|line| String::from_utf8_lossy(&line).into_owned()).collect()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // The test has failed; otherwise the program has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
