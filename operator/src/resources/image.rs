//! Which image the pods run.

use brainy_crds::ImageSpec;

/// The image of the pods: what the spec says, completed from what runs (`status.image`) or from the operator's default.
///
/// | the spec names | then |
/// |---|---|
/// | a digest | it, in the spec's repository or the default's; a tag beside it does not count |
/// | a tag | it, in the spec's repository or the default's |
/// | a repository only | what runs, if it is from there; else the default's tag or digest in it |
/// | nothing | what runs; else the default |
///
/// What runs is kept so that an upgrade of the operator, which brings another default, restarts no pods. To move on, name a tag.
pub(crate) fn image(spec: &ImageSpec, status_image: Option<&str>, default_image: &str) -> String {
    let ImageSpec {
        repository,
        tag,
        digest,
        pull_policy: _,
        pull_secrets: _,
    } = spec;
    let (default_repository, default_version) = split(default_image);
    let version = match (digest, tag) {
        (Some(digest), _) => format!("@{digest}"),
        (None, Some(tag)) => format!(":{tag}"),
        (None, None) => {
            let running = status_image.filter(|image| {
                repository
                    .as_ref()
                    .is_none_or(|wanted| split(image).0 == wanted)
            });
            if let Some(running) = running {
                return running.to_owned();
            }
            default_version.to_owned()
        }
    };
    let repository = repository.as_deref().unwrap_or(default_repository);
    format!("{repository}{version}")
}

/// Repository, and tag or digest with the character before it. A colon before the last slash is that of a port.
fn split(image: &str) -> (&str, &str) {
    let path = image.rfind('/').map_or(0, |slash| slash + 1);
    let end = image[path..]
        .find(['@', ':'])
        .map_or(image.len(), |at| path + at);
    image.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: &str = "registry.example.com:5000/brainy/brainyd:0.2.0";

    fn spec(repository: &str, tag: &str, digest: &str) -> ImageSpec {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        ImageSpec {
            repository: some(repository),
            tag: some(tag),
            digest: some(digest),
            ..ImageSpec::default()
        }
    }

    #[test]
    fn the_spec_wins_and_the_default_completes_it() {
        for (wanted, expected) in [
            (("", "", ""), DEFAULT),
            (("mirror:5000/b", "", ""), "mirror:5000/b:0.2.0"),
            (
                ("", "0.3.0", ""),
                "registry.example.com:5000/brainy/brainyd:0.3.0",
            ),
            (("b", "0.3.0", ""), "b:0.3.0"),
            (("b", "0.3.0", "sha256:aa"), "b@sha256:aa"),
            (
                ("", "", "sha256:aa"),
                "registry.example.com:5000/brainy/brainyd@sha256:aa",
            ),
        ] {
            let (repository, tag, digest) = wanted;
            let image = image(&spec(repository, tag, digest), None, DEFAULT);
            assert_eq!(image, expected, "{wanted:?}");
        }
    }

    #[test]
    fn a_default_by_digest_is_completed_as_well() {
        let default = "registry.example.com:5000/brainyd:0.2.0@sha256:aa";
        let with = |repository| image(&spec(repository, "", ""), None, default);
        assert_eq!(with(""), default);
        assert_eq!(with("mirror/b"), "mirror/b:0.2.0@sha256:aa");
        assert_eq!(
            image(&spec("", "1", ""), None, default),
            "registry.example.com:5000/brainyd:1"
        );
    }

    #[test]
    fn what_runs_outlives_an_upgrade_of_the_operator() {
        let runs = "registry.example.com:5000/brainy/brainyd:0.1.0";
        assert_eq!(image(&spec("", "", ""), Some(runs), DEFAULT), runs);
        let repository = "registry.example.com:5000/brainy/brainyd";
        assert_eq!(image(&spec(repository, "", ""), Some(runs), DEFAULT), runs);
        assert_eq!(image(&spec("b", "", ""), Some(runs), DEFAULT), "b:0.2.0");
        assert_eq!(
            image(&spec("", "0.1.1", ""), Some(runs), DEFAULT),
            "registry.example.com:5000/brainy/brainyd:0.1.1"
        );
    }
}
