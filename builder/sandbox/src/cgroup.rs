//! A control group for one build: memory and processes of everything in it together, where this
//! user may make one.
//!
//! Version 2 is used where a group above has both controllers handed down to its children, version
//! 1 where the hierarchies are mounted and the group this process is in can be written to. Where
//! neither is the case, nothing here fails: the sandbox then sets resource limits instead
//! (`limits`), which bind each process by itself.
//!
//! The spawner is put into a group before it forks the first init: so nothing of a build ever runs
//! outside. Nor is a process moved for each build: moving a process blocks every fork. Invariant: a
//! group is removed after its spawner has ended, and holds nothing else then, as a build's
//! processes are dead when [`super::Sandbox::run`] returns; the next caller removes groups of
//! callers that were killed.

use crate::request::Limits;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Start of the names of groups; the caller's process id and a number follow.
const NAME: &str = "eval-build-";

/// The resource that a build was refused, and the owner of the limit: the build, or a group above
/// it or the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exhausted {
    Memory(Whose),
    Processes(Whose),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    Own,
    Ancestor,
}

/// Directories in which groups can be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parents {
    memory: Option<Parent>,
    processes: Option<Parent>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Parent {
    directory: PathBuf,
    version: u8,
}

impl Parents {
    /// Finds the directories in which this process may make groups.
    pub fn find() -> Parents {
        parents_in(&Membership::all())
    }

    /// Describes the limits of memory and processes in a few words.
    pub fn describe(&self) -> [(&'static str, Option<String>); 2] {
        let text = |parent: &Option<Parent>| {
            parent.as_ref().map(|parent| format!("version {} below {}", parent.version, parent.directory.display()))
        };
        [("memory control group", text(&self.memory)), ("process control group", text(&self.processes))]
    }
}

/// A hierarchy of control groups, and the group in it that this process belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    pub version: u8,
    /// Options of the hierarchy's mount: of version 1 its controllers, among other things.
    options: Vec<String>,
    point: PathBuf,
    directory: PathBuf,
}

impl Membership {
    /// Returns all hierarchies of this process.
    pub fn all() -> Vec<Membership> {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Membership::in_texts(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"))
    }

    /// Finds the hierarchies in the texts of `/proc/self/mountinfo` and `/proc/self/cgroup`.
    pub fn in_texts(mounts: &str, own: &str) -> Vec<Membership> {
        let of_line = |line: &str| -> Option<Membership> {
            let (mount, system) = line.split_once(" - ")?;
            let (mount, system): (Vec<&str>, Vec<&str>) = (mount.split(' ').collect(), system.split(' ').collect());
            let (&[_, _, _, root, point, ..], &[kind, _, options, ..]) = (mount.as_slice(), system.as_slice()) else {
                return None;
            };
            let options: Vec<String> = options.split(',').map(str::to_owned).collect();
            let (version, path) = match kind {
                "cgroup2" => (2, own.lines().find_map(|line| line.strip_prefix("0::"))?),
                "cgroup" => (
                    1,
                    own.lines().find_map(|line| {
                        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
                        controllers.split(',').any(|name| options.iter().any(|option| option == name)).then_some(path)
                    })?,
                ),
                _ => return None,
            };
            let inside = Path::new(path).strip_prefix(root).ok()?;
            Some(Membership { version, options, point: point.into(), directory: Path::new(point).join(inside) })
        };
        mounts.lines().filter_map(of_line).collect()
    }

    /// Returns true when this hierarchy may have `controller`: each group of version 2 says for
    /// itself.
    pub fn may_have(&self, controller: &str) -> bool {
        self.version == 2 || self.options.iter().any(|option| option == controller)
    }

    /// Returns the directories of the group and of those above it, whose limits bind it too, as far
    /// as they are visible.
    pub fn groups(&self) -> impl Iterator<Item = &Path> {
        self.directory.ancestors().take_while(|directory| directory.starts_with(&self.point))
    }
}

/// Finds the directories in which groups can be made.
fn parents_in(memberships: &[Membership]) -> Parents {
    let mut parents = Parents::default();
    for membership in memberships {
        if membership.version == 2 {
            // A group with processes of its own can hand nothing down, so it is usually the parent
            // that has.
            for directory in membership.groups().take(2) {
                let handed_down = fs::read_to_string(directory.join("cgroup.subtree_control")).unwrap_or_default();
                let has = |controller: &str| handed_down.split_whitespace().any(|word| word == controller);
                if has("memory") && has("pids") && usable(directory) {
                    let parent = Parent { directory: directory.to_owned(), version: 2 };
                    return Parents { memory: Some(parent.clone()), processes: Some(parent) };
                }
            }
            continue;
        }
        for (controller, parent) in [("memory", &mut parents.memory), ("pids", &mut parents.processes)] {
            if membership.may_have(controller) && usable(&membership.directory) {
                *parent = Some(Parent { directory: membership.directory.clone(), version: 1 });
            }
        }
    }
    parents
}

/// Returns true when groups can be made here and processes of the group that this process is in can
/// be moved to them.
fn usable(directory: &Path) -> bool {
    let writable = |path: &Path| nix::unistd::access(path, nix::unistd::AccessFlags::W_OK).is_ok();
    writable(directory) && writable(&directory.join("cgroup.procs"))
}

/// The groups of one build at a time, removed when dropped.
#[derive(Debug)]
pub struct Groups {
    memory: Option<Parent>,
    processes: Option<Parent>,
}

impl Groups {
    /// Makes groups with `limits` below `parents`. A group that cannot be made is left out: see
    /// [`Groups::limits_memory`] and [`Groups::limits_processes`].
    pub fn make(parents: &Parents, limits: &Limits) -> Groups {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{NAME}{}-{number}", std::process::id());
        let make = |parent: &Option<Parent>, settings: &[(&str, String)]| -> Option<Parent> {
            let Parent { directory, version } = parent.as_ref()?;
            if number == 0 {
                sweep(directory);
            }
            let group = Parent { directory: directory.join(&name), version: *version };
            match fs::create_dir(&group.directory) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return None,
                _ => {}
            }
            let set = settings.iter().all(|(file, text)| fs::write(group.directory.join(file), text).is_ok());
            if !set {
                // It is a fresh group without processes.
                let _ = fs::remove_dir(&group.directory);
            }
            set.then_some(group)
        };
        let version = |parent: &Option<Parent>| parent.as_ref().map_or(0, |parent| parent.version);
        let memory = limits.memory_max_bytes.and_then(|bytes| match version(&parents.memory) {
            2 => make(&parents.memory, &[("memory.max", bytes.to_string()), ("memory.oom.group", "1".into())]),
            1 => make(&parents.memory, &[("memory.limit_in_bytes", bytes.to_string())]),
            _ => None,
        });
        // The spawner and the init are in the group too.
        let processes = limits.processes_max.and_then(|max| {
            let settings = [("pids.max", max.saturating_add(2).to_string())];
            make(&parents.processes, &settings)
        });
        Groups { memory, processes }
    }

    /// Puts a process, and all it will start, into the groups. Where that is refused the group is
    /// given up.
    pub fn add(&mut self, pid: u32) {
        for group in [&mut self.memory, &mut self.processes] {
            let added = group
                .as_ref()
                .is_some_and(|group| fs::write(group.directory.join("cgroup.procs"), pid.to_string()).is_ok());
            if !added && let Some(refused) = group.take() {
                // A group that cannot be removed now is swept up by the next caller.
                let _ = fs::remove_dir(refused.directory);
            }
        }
    }

    /// Returns true when the memory of all processes together is limited.
    pub fn limits_memory(&self) -> bool {
        self.memory.is_some()
    }

    /// Returns true when the number of processes is limited.
    pub fn limits_processes(&self) -> bool {
        self.processes.is_some()
    }

    /// Returns the limit that the build met, if any; to be called when it has ended.
    pub fn exhausted(&self) -> Option<Exhausted> {
        let memory = self.memory.as_ref().and_then(Parent::taken_memory).map(Exhausted::Memory);
        memory.or_else(|| self.processes.as_ref().and_then(Parent::refused_processes).map(Exhausted::Processes))
    }
}

impl Parent {
    fn read(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.directory.join(file)).ok()
    }

    fn number(&self, file: &str) -> Option<u64> {
        self.read(file)?.trim().parse().ok()
    }

    /// Returns true when a file with a word and a number in each line has anything but 0 for
    /// `word`.
    fn has_counted(&self, file: &str, word: &str) -> bool {
        let text = self.read(file).unwrap_or_default();
        text.lines().any(|line| line.split_once(' ').is_some_and(|(name, count)| name == word && count.trim() != "0"))
    }

    /// Returns the owner of the limit by which a process of this group was killed. The group counts
    /// it for any limit.
    fn taken_memory(&self) -> Option<Whose> {
        let file = if self.version == 1 { "memory.oom_control" } else { "memory.events" };
        if !self.has_counted(file, "oom_kill") {
            return None;
        }
        let met = match self.version {
            1 => self.number("memory.failcnt") != Some(0),
            _ => self.has_counted("memory.events", "oom"),
        };
        Some(if met { Whose::Own } else { Whose::Ancestor })
    }

    /// Returns the owner of the limit by which a process of this group was refused another. Kernels
    /// before 6.12, and groups of version 1, count that in the refused group; from Linux 6.11 on,
    /// the highest number of processes shows if it was this group's limit.
    fn refused_processes(&self) -> Option<Whose> {
        if !self.has_counted("pids.events", "max") {
            return None;
        }
        let met = match (self.number("pids.peak"), self.number("pids.max")) {
            (Some(peak), Some(max)) => peak >= max,
            _ => true,
        };
        Some(if met { Whose::Own } else { Whose::Ancestor })
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for group in [&self.memory, &self.processes].into_iter().flatten() {
            // Both may be one directory; a group that cannot be removed now is swept up by the next
            // caller.
            let _ = fs::remove_dir(&group.directory);
        }
    }
}

/// Removes the empty groups of callers that are dead; the kernel refuses to remove one with
/// processes.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(NAME)?.split('-').next()?.parse().ok());
        if pid.is_some_and(|pid| kill(Pid::from_raw(pid), None) == Err(nix::errno::Errno::ESRCH)) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find_in(mounts: &str, own: &str) -> Parents {
        parents_in(&Membership::in_texts(mounts, own))
    }

    #[test]
    fn groups_are_found_where_they_are_handed_down() {
        let place = tempfile::tempdir().unwrap();
        let point = place.path().to_str().unwrap();
        let scope = place.path().join("user.slice/app.slice/run.scope");
        fs::create_dir_all(&scope).unwrap();
        for directory in [scope.parent().unwrap(), &scope] {
            fs::write(directory.join("cgroup.procs"), "").unwrap();
        }
        fs::write(scope.join("cgroup.subtree_control"), "\n").unwrap();
        let handed = scope.parent().unwrap().join("cgroup.subtree_control");
        let mounts = format!("30 24 0:26 / {point} rw shared:4 - cgroup2 cgroup2 rw\n");
        let own = "0::/user.slice/app.slice/run.scope\n";

        fs::write(&handed, "memory\n").unwrap();
        assert_eq!(find_in(&mounts, own), Parents::default(), "without a limit on processes it is of no use");
        fs::write(&handed, "cpu memory pids\n").unwrap();
        let found = find_in(&mounts, own);
        assert_eq!(found.memory.as_ref().unwrap().directory, scope.parent().unwrap());
        assert_eq!(found.memory, found.processes);
        assert_eq!(find_in("", own), Parents::default());
        assert_eq!(find_in("garbage - cgroup2\n", own), Parents::default());
    }

    #[test]
    fn a_limit_is_called_the_builds_when_it_was_met() {
        use Exhausted::{Memory, Processes};
        use Whose::{Ancestor, Own};
        let found = |version: u8, files: &[(&str, &str)]| {
            let place = tempfile::tempdir().unwrap();
            for (name, text) in files {
                fs::write(place.path().join(name), text).unwrap();
            }
            let group = Parent { directory: place.path().to_owned(), version };
            // Dropping them removes an empty directory, which it is not.
            Groups { memory: Some(group.clone()), processes: Some(group) }.exhausted()
        };
        let events = |oom, oom_kill| format!("low 0\nhigh 0\nmax 7\noom {oom}\noom_kill {oom_kill}\n");
        assert_eq!(found(2, &[("memory.events", &events(0, 0))]), None, "what was reclaimed was not missing");
        assert_eq!(found(2, &[("memory.events", &events(1, 1))]), Some(Memory(Own)));
        assert_eq!(found(2, &[("memory.events", &events(0, 1))]), Some(Memory(Ancestor)));
        let control = |oom_kill| format!("oom_kill_disable 0\nunder_oom 0\noom_kill {oom_kill}\n");
        assert_eq!(found(1, &[("memory.oom_control", &control(0)), ("memory.failcnt", "3\n")]), None);
        assert_eq!(found(1, &[("memory.oom_control", &control(1)), ("memory.failcnt", "3\n")]), Some(Memory(Own)));
        assert_eq!(found(1, &[("memory.oom_control", &control(1)), ("memory.failcnt", "0\n")]), Some(Memory(Ancestor)));

        let pids = |max, peak| {
            let peak: Option<&str> = peak;
            let files = [("pids.events", max), ("pids.max", "100\n")];
            found(2, &files.into_iter().chain(peak.map(|peak| ("pids.peak", peak))).collect::<Vec<_>>())
        };
        assert_eq!(pids("max 0\n", Some("7\n")), None);
        assert_eq!(pids("max 2\n", Some("100\n")), Some(Processes(Own)));
        assert_eq!(pids("max 2\n", Some("21\n")), Some(Processes(Ancestor)));
        assert_eq!(pids("max 2\n", None), Some(Processes(Own)));
    }

    #[test]
    fn the_first_version_has_a_hierarchy_each() {
        let place = tempfile::tempdir().unwrap();
        let point = |name: &str| place.path().join(name);
        fs::create_dir_all(point("memory/job")).unwrap();
        fs::write(point("memory/job/cgroup.procs"), "").unwrap();
        let mounts = format!(
            "1 2 0:1 / {} rw - cgroup cgroup rw,memory\n1 2 0:1 / {} rw - cgroup cgroup rw,pids\n",
            point("memory").display(),
            point("pids").display()
        );
        let found = find_in(&mounts, "4:memory:/job\n8:pids:/\n");
        assert_eq!(found.memory, Some(Parent { directory: point("memory/job"), version: 1 }));
        assert_eq!(found.processes, None, "it is not there");
    }
}
