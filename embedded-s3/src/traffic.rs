//! What is asked of the server: requests by kind and by what they are about, as a bill has them.

use std::collections::BTreeMap;

use http::{Method, Uri};
use parking_lot::Mutex;

/// Kinds of requests, as AWS prices them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// GET and HEAD of an object, also those answered 304, 404 and 206.
    Get,
    /// PUT, POST and what else writes, also what was refused by its condition.
    Put,
    /// A page of a listing; costs what a PUT does.
    List,
    /// DELETE; free.
    Delete,
}

/// Requests by kind and by the first folder or document of the key below `_brainy/`, or of the key.
pub type Counts = BTreeMap<(Kind, String), u64>;

/// Counts the requests of a server.
#[derive(Debug, Default)]
pub struct Traffic {
    counts: Mutex<Counts>,
}

impl Traffic {
    /// Everything counted so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts.lock().clone()
    }

    pub(crate) fn count(&self, method: &Method, uri: &Uri) {
        let asked = classify(method, uri);
        *self.counts.lock().entry(asked).or_default() += 1;
    }
}

/// Separator of folders, also where it is percent-encoded.
fn folders(key: &str) -> impl Iterator<Item = &str> {
    key.split('/')
        .flat_map(|part| part.split("%2F"))
        .flat_map(|part| part.split("%2f"))
}

fn classify(method: &Method, uri: &Uri) -> (Kind, String) {
    // Path style: /bucket/key.
    let key = uri.path().splitn(3, '/').nth(2).unwrap_or("");
    let listing = key.is_empty() && *method == Method::GET;
    let kind = match *method {
        _ if listing => Kind::List,
        Method::GET | Method::HEAD => Kind::Get,
        Method::DELETE => Kind::Delete,
        _ => Kind::Put,
    };
    let parameters = uri.query().unwrap_or("").split('&');
    let prefix = parameters.filter_map(|p| p.strip_prefix("prefix=")).next();
    let about = if listing { prefix.unwrap_or("") } else { key };
    let mut parts = folders(about);
    let found = match parts.find(|part| matches!(*part, "_brainy" | "segments")) {
        Some("_brainy") => parts.next().unwrap_or(""),
        Some(other) => other,
        None => folders(about).next().unwrap_or(""),
    };
    (kind, found.trim_end_matches(".json").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart_by_kind_and_folder() {
        let traffic = Traffic::default();
        let ask = |method: Method, uri: &str| traffic.count(&method, &uri.parse().unwrap());
        ask(Method::GET, "/b/team/_brainy/config.json");
        ask(Method::GET, "/b/team/_brainy/config.json");
        ask(Method::PUT, "/b/_brainy/wal/things-1/0/00001/0002");
        ask(
            Method::GET,
            "/b?list-type=2&prefix=team%2F_brainy%2Fwal%2Fthings",
        );
        ask(Method::GET, "/b/?list-type=2&prefix=segments/things-1");
        ask(Method::DELETE, "/b/team/segments/things-1/0/x/rows.bin");
        ask(Method::PUT, "/b/other");
        let counts = traffic.counts();
        let count = |kind, about: &str| counts[&(kind, about.to_owned())];
        assert_eq!(count(Kind::Get, "config"), 2);
        assert_eq!(count(Kind::Put, "wal"), 1);
        assert_eq!(count(Kind::List, "wal"), 1);
        assert_eq!(count(Kind::List, "segments"), 1);
        assert_eq!(count(Kind::Delete, "segments"), 1);
        assert_eq!(count(Kind::Put, "other"), 1);
        assert_eq!(counts.len(), 6);
    }
}
