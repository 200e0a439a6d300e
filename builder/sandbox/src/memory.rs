//! The amount of memory: the machine's, or less where a control group of this process allows less.

use crate::Membership;
use std::fs;
use std::path::Path;

/// Returns the bytes that this process and all it starts may use together; `None` where the kernel
/// does not say it.
pub fn total_bytes() -> Option<u64> {
    let [total] = machine(["MemTotal:"])?;
    Some(groups(&Membership::all()).map(|group| group.limit).fold(total, u64::min))
}

/// Returns the machine's memory in bytes; `None` where the kernel does not say it.
pub fn machine_bytes() -> Option<u64> {
    machine(["MemTotal:"]).map(|[total]| total)
}

/// Returns the bytes that are free, or would be without caches of files; `None` where the kernel
/// does not say it.
pub fn available_bytes() -> Option<u64> {
    let [total, available] = machine(["MemTotal:", "MemAvailable:"])?;
    // Reading a group's usage takes long, and a group that may have all of the machine is no limit.
    let memberships = Membership::all();
    let binding = groups(&memberships).filter(|group| group.limit < total);
    Some(binding.filter_map(|group| group.available()).fold(available, u64::min))
}

/// Lines of `/proc/meminfo`.
fn machine<const N: usize>(names: [&str; N]) -> Option<[u64; N]> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let bytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    let mut values = [0; N];
    for (value, name) in values.iter_mut().zip(names) {
        *value = bytes(name)?;
    }
    Some(values)
}

/// A control group with a limit on memory that binds this process.
struct Group<'a> {
    directory: &'a Path,
    version: u8,
    limit: u64,
}

fn groups(memberships: &[Membership]) -> impl Iterator<Item = Group<'_>> {
    memberships.iter().filter(|membership| membership.may_have("memory")).flat_map(|membership| {
        let file = if membership.version == 1 { "memory.limit_in_bytes" } else { "memory.max" };
        membership.groups().filter_map(move |directory| {
            // Without a limit there is no file, or no number in it.
            let limit = fs::read_to_string(directory.join(file)).ok()?.trim().parse().ok()?;
            Some(Group { directory, version: membership.version, limit })
        })
    })
}

impl Group<'_> {
    /// Returns the rest of the limit. Caches of files do not count as used.
    fn available(&self) -> Option<u64> {
        let [used, cached] = match self.version {
            1 => ["memory.usage_in_bytes", "total_inactive_file"],
            _ => ["memory.current", "inactive_file"],
        };
        let text = |file: &str| fs::read_to_string(self.directory.join(file)).ok();
        let used: u64 = text(used)?.trim().parse().ok()?;
        let cached = text("memory.stat").and_then(|stat| value(&stat, cached)).unwrap_or(0);
        Some(self.limit.saturating_sub(used.saturating_sub(cached)))
    }
}

fn value(table: &str, name: &str) -> Option<u64> {
    table.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(directory: &Path, files: &[(&str, &str)]) {
        fs::create_dir_all(directory).unwrap();
        for (name, text) in files {
            fs::write(directory.join(name), text).unwrap();
        }
    }

    #[test]
    fn every_group_above_counts_and_caches_do_not() {
        let place = tempfile::tempdir().unwrap();
        let (two, one) = (place.path().join("unified"), place.path().join("memory"));
        group(
            &two.join("a"),
            &[("memory.max", "1000\n"), ("memory.current", "700\n"), ("memory.stat", "anon 1\ninactive_file 300\n")],
        );
        group(&two.join("a/b"), &[("memory.max", "max\n"), ("memory.current", "600\n")]);
        let unlimited: u64 = 9_223_372_036_854_771_712;
        group(&one, &[("memory.limit_in_bytes", "9223372036854771712\n"), ("memory.usage_in_bytes", "5000\n")]);
        group(
            &one.join("job"),
            &[
                ("memory.limit_in_bytes", "800\n"),
                ("memory.usage_in_bytes", "500\n"),
                ("memory.stat", "inactive_file 1\ntotal_inactive_file 200\n"),
            ],
        );
        let mounts = format!(
            "30 24 0:26 / {} rw - cgroup2 cgroup2 rw\n31 24 0:27 / {} rw - cgroup cgroup rw,memory\n",
            two.display(),
            one.display()
        );
        let found = Membership::in_texts(&mounts, "4:memory:/job\n0::/a/b\n");
        let left = |group: Group<'_>| (group.limit, group.available().unwrap());
        assert_eq!(
            groups(&found).map(left).collect::<Vec<_>>(),
            [(1000, 600), (800, 500), (unlimited, unlimited - 5000)]
        );
        assert_eq!(groups(&Membership::in_texts(&mounts, "")).count(), 0);
    }

    #[test]
    fn this_machine_has_some() {
        let (total, available) = (total_bytes().unwrap(), available_bytes().unwrap());
        assert!(0 < available && available <= total);
    }
}
