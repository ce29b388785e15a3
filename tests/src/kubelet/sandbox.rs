//! What namespaces do for a container, done by rewriting what it is told: addresses and paths.

use std::net::Ipv4Addr;
use std::path::PathBuf;

/// A directory of the container and where it is on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) name: String,
    pub(super) path: String,
    pub(super) dir: PathBuf,
}

/// How arguments and values of a container are rewritten.
#[derive(Clone, Debug)]
pub(super) struct Sandbox {
    address: Ipv4Addr,
    /// The longest path first: a mount may lie within another.
    mounts: Vec<Mount>,
}

impl Sandbox {
    pub(super) fn new(address: Ipv4Addr, mut mounts: Vec<Mount>) -> Self {
        for mount in &mut mounts {
            while mount.path.ends_with('/') {
                mount.path.pop();
            }
        }
        mounts.retain(|mount| !mount.path.is_empty());
        mounts.sort_by_key(|mount| std::cmp::Reverse(mount.path.len()));
        Self { address, mounts }
    }

    /// Where a path of the container is, if it is a mount's own.
    pub(super) fn mount(&self, path: &str) -> Option<&Mount> {
        self.mounts.iter().find(|mount| mount.path == path)
    }

    /// The text with every path below a mount, and every "all addresses", replaced by what is meant.
    pub(super) fn rewrite(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut before = None;
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            let (replacement, taken) = self.meant(before, rest);
            match replacement {
                Some(meant) => out += &meant,
                None => out.push(next),
            }
            let taken = taken.max(next.len_utf8());
            before = rest[..taken].chars().next_back();
            rest = &rest[taken..];
        }
        out
    }

    /// What stands in place of the beginning of `rest`, and how long that beginning is.
    fn meant(&self, before: Option<char>, rest: &str) -> (Option<String>, usize) {
        const EVERYWHERE: &str = "0.0.0.0";
        if before.is_some_and(|c| c.is_alphanumeric() || "/._-~%+".contains(c)) {
            return (None, 0);
        }
        if let Some(after) = rest.strip_prefix(EVERYWHERE)
            && !after.starts_with(|c: char| c.is_alphanumeric() || c == '.')
        {
            return (Some(self.address.to_string()), EVERYWHERE.len());
        }
        let inside = |after: &str| {
            after.starts_with('/')
                || !after.starts_with(|c: char| c.is_alphanumeric() || "._-~%+".contains(c))
        };
        let found = self.mounts.iter().find(|mount| {
            let after = rest.strip_prefix(mount.path.as_str());
            after.is_some_and(inside)
        });
        match found {
            Some(mount) => (
                Some(mount.dir.to_string_lossy().into_owned()),
                mount.path.len(),
            ),
            None => (None, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(path: &str, dir: &str) -> Mount {
        Mount {
            name: dir.trim_start_matches('/').to_owned(),
            path: path.to_owned(),
            dir: dir.into(),
        }
    }

    #[test]
    fn paths_and_addresses_become_those_of_the_pod_and_nothing_else_changes() {
        let mounts = vec![
            mount("/data", "/p/v1"),
            mount("/data/inner/", "/p/v2"),
            mount("/tmp", "/p/v3"),
        ];
        let sandbox = Sandbox::new(Ipv4Addr::new(127, 9, 8, 7), mounts);
        for (text, expected) in [
            ("0.0.0.0:6333", "127.9.8.7:6333"),
            ("--listen=0.0.0.0:6333", "--listen=127.9.8.7:6333"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("0.0.0.0.0", "0.0.0.0.0"),
            ("/data", "/p/v1"),
            ("/data/x", "/p/v1/x"),
            ("/data/inner", "/p/v2"),
            ("--dir=/data/inner/x", "--dir=/p/v2/x"),
            ("/database", "/database"),
            ("/other/data", "/other/data"),
            ("/data:/tmp,/tmp/ä", "/p/v1:/p/v3,/p/v3/ä"),
            ("http://host/tmp", "http://host/tmp"),
            ("s3://tmp", "s3://tmp"),
            ("plain", "plain"),
        ] {
            assert_eq!(sandbox.rewrite(text), expected, "{text}");
        }
    }
}
