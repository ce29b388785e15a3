//! How much memory there is to use.

use std::path::{Path, PathBuf};

/// Bytes of memory of the machine, or of the control group that this process is in if that may use less; `None` where neither
/// can be told. `root` is where the file system begins.
#[must_use]
pub fn available(root: &Path) -> Option<u64> {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let groups = read(&root.join("proc/self/cgroup")).unwrap_or_default();
    let limits = limit_files(&groups)
        .into_iter()
        // "max", or in version 1 a number beyond any machine, means no limit.
        .filter_map(|file| read(&root.join(file))?.trim().parse::<u64>().ok());
    let machine = read(&root.join("proc/meminfo")).and_then(|text| {
        let line = text.lines().find(|l| l.starts_with("MemTotal:"))?;
        let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kib * 1024)
    });
    limits.chain(machine).min()
}

/// Files that may hold a limit, relative to the root: the process's own groups and all above them, in `/proc/self/cgroup`'s words
/// (cgroups(7)). A container often sees its own group as the top one, whatever that file says.
fn limit_files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        // hierarchy:controllers:path; version 2 has no controllers.
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let (top, file) = match controllers {
            "" => ("sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|c| c == "memory") => {
                ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let own = Path::new(path.trim_start_matches('/'));
        // The last one is the top itself.
        files.extend(own.ancestors().map(|at| Path::new(top).join(at).join(file)));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    /// A machine of 8 GiB with these files.
    fn available_with(files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        let meminfo = (
            "proc/meminfo",
            "MemTotal:        8388608 kB\nMemFree: 1 kB\n",
        );
        for (path, text) in files.iter().chain([&meminfo]) {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        available(root.path())
    }

    #[test]
    fn a_limit_of_the_control_group_counts_and_none_means_the_machine() {
        let own = ("proc/self/cgroup", "0::/\n");
        let limited = |text| available_with(&[own, ("sys/fs/cgroup/memory.max", text)]);
        assert_eq!(limited("1073741824\n"), Some(GIB));
        assert_eq!(limited("max\n"), Some(8 * GIB));
        assert_eq!(available_with(&[]), Some(8 * GIB));
        assert_eq!(available(Path::new("/nowhere")), None);
    }

    #[test]
    fn the_smallest_limit_of_the_groups_above_counts() {
        let own = ("proc/self/cgroup", "0::/pods/one\n");
        let found = available_with(&[
            own,
            ("sys/fs/cgroup/pods/memory.max", "2147483648"),
            ("sys/fs/cgroup/pods/one/memory.max", "4294967296"),
        ]);
        assert_eq!(found, Some(2 * GIB));
    }

    #[test]
    fn version_1_is_understood_also_where_the_own_group_is_shown_as_the_top() {
        let own = (
            "proc/self/cgroup",
            "5:cpu,cpuacct:/docker/0a\n4:memory:/docker/0a\n0::/docker/0a\n",
        );
        let top = "sys/fs/cgroup/memory/memory.limit_in_bytes";
        let inner = "sys/fs/cgroup/memory/docker/0a/memory.limit_in_bytes";
        for limited in [top, inner] {
            assert_eq!(available_with(&[own, (limited, "1073741824")]), Some(GIB));
        }
        let unlimited = available_with(&[own, (top, "9223372036854771712\n")]);
        assert_eq!(unlimited, Some(8 * GIB));
    }
}
