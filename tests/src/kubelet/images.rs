//! Which program an image is, on a machine without images.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::lock;

/// The registry: patterns of image names and the local programs behind them. Clones share it, and it can be changed while
/// pods run, which is how a bad image becomes a good one.
///
/// A pattern with a tag or digest is compared with the whole reference, one without with the repository; `*` stands for any
/// text. The pattern that was set last is asked first.
#[derive(Clone, Debug, Default)]
pub struct Images(Arc<Mutex<Vec<Known>>>);

/// A pattern and its program; `None` for images that do not exist.
type Known = (String, Option<PathBuf>);

impl Images {
    /// A registry without any image.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same registry with one more image.
    #[must_use]
    pub fn with(self, pattern: &str, program: impl Into<PathBuf>) -> Self {
        self.set(pattern, program);
        self
    }

    /// From now on images that match `pattern` are `program`.
    pub fn set(&self, pattern: &str, program: impl Into<PathBuf>) {
        self.put(pattern, Some(program.into()));
    }

    /// From now on images that match `pattern` do not exist, whatever other patterns say.
    pub fn refuse(&self, pattern: &str) {
        self.put(pattern, None);
    }

    /// Forgets a pattern, of either kind.
    pub fn remove(&self, pattern: &str) {
        lock(&self.0).retain(|(known, _)| known != pattern);
    }

    fn put(&self, pattern: &str, program: Option<PathBuf>) {
        let mut known = lock(&self.0);
        known.retain(|(other, _)| other != pattern);
        known.push((pattern.to_owned(), program));
    }

    /// The program of an image reference, or what a registry would say.
    pub(super) fn pull(&self, image: &str) -> Result<PathBuf, String> {
        let known = lock(&self.0);
        let found = known
            .iter()
            .rev()
            .find(|(pattern, _)| matches(pattern, image));
        match found {
            Some((_, Some(program))) if program.is_file() => Ok(program.clone()),
            Some((_, Some(program))) => Err(format!(
                "failed to pull image \"{image}\": its program {} was not built",
                program.display()
            )),
            _ => Err(format!(
                "failed to pull and unpack image \"{image}\": failed to resolve reference \"{image}\": not found"
            )),
        }
    }
}

/// A reference without its tag and digest.
fn repository(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    let name = image.rfind('/').map_or(0, |slash| slash + 1);
    match image[name..].find(':') {
        Some(colon) => &image[..name + colon],
        None => image,
    }
}

fn matches(pattern: &str, image: &str) -> bool {
    let text = if repository(pattern) == pattern {
        repository(image)
    } else {
        image
    };
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn patterns_without_a_tag_name_repositories() {
        assert_eq!(
            repository("localhost:5000/a/brainyd"),
            "localhost:5000/a/brainyd"
        );
        assert_eq!(
            repository("localhost:5000/brainyd:1@sha256:ab"),
            "localhost:5000/brainyd"
        );
        for image in ["x/brainyd", "x/y/brainyd:1", "x:5000/brainyd@sha256:ab"] {
            assert!(matches("*/brainyd", image), "{image}");
        }
        assert!(!matches("*/brainyd", "x/brainyd-debug:1"));
        assert!(matches("*:broken", "x/brainyd:broken"));
        assert!(!matches("*:broken", "x/brainyd:1"));
        assert!(matches("brainyd", "brainyd:1"));
        assert!(matches("a*c*", "abcd"));
        assert!(!matches("a*c*e", "abcd"));
    }

    #[test]
    fn the_last_word_counts_and_can_be_taken_back() {
        let program = std::env::current_exe().unwrap();
        let images = Images::new().with("*/brainyd", &program);
        assert_eq!(images.pull("x/brainyd:1"), Ok(program.clone()));
        images.refuse("*:bad");
        assert!(images.pull("x/brainyd:bad").is_err());
        images.remove("*:bad");
        assert_eq!(images.pull("x/brainyd:bad"), Ok(program));
        assert!(images.pull("other").is_err());
    }
}
