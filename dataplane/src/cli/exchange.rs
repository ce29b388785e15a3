//! Options of the exchange with other clusters.

use std::str::FromStr;
use std::time::Duration;

use brainy_coordination::store::s3::{Credentials, S3Config};
use brainy_coordination::types::InstanceId;
use clap::Args;

/// Other clusters to follow.
#[derive(Clone, Debug, Default, Args)]
pub struct ExchangeArgs {
    /// Another cluster to follow, which follows this one in turn: NAME=s3://BUCKET/PREFIX, and after a '?' any of endpoint=, region= and
    /// path-style=true, joined by '&'; several are separated by commas. Needs --multi-writer. Its bucket is only read, with the
    /// credentials of `BRAINY_EXCHANGE_<NAME>_ACCESS_KEY_ID` and `_SECRET_ACCESS_KEY`, or else this cluster's.
    #[arg(
        long,
        env = "BRAINY_EXCHANGE_WITH",
        value_name = "NAME=URL",
        value_delimiter = ',',
        requires = "multi_writer"
    )]
    pub exchange_with: Vec<PeerArg>,
    /// Pause between looks at another cluster's log that holds nothing new, milliseconds: what a write needs at most to be found there, and
    /// a request for each partition.
    #[arg(long, env = "BRAINY_EXCHANGE_POLL_INTERVAL_MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(10..=3_600_000))]
    pub exchange_poll_interval_ms: u64,
}

/// A cluster as an option names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerArg {
    /// What it is called here.
    pub name: InstanceId,
    bucket: String,
    prefix: String,
    endpoint: Option<String>,
    region: Option<String>,
    path_style: bool,
}

impl FromStr for PeerArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rule = "write it like east=s3://bucket/prefix or east=s3://bucket/prefix?endpoint=http://minio:9000&path-style=true";
        let (name, url) = text.split_once('=').ok_or(rule)?;
        let name = InstanceId::new(name).map_err(|e| e.to_string())?;
        let place = url.strip_prefix("s3://").ok_or(rule)?;
        let (place, options) = place.split_once('?').unwrap_or((place, ""));
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        if bucket.is_empty() || bucket.contains('@') {
            return Err(rule.to_owned());
        }
        let mut peer = Self {
            name,
            bucket: bucket.to_owned(),
            prefix: prefix.trim_matches('/').to_owned(),
            endpoint: None,
            region: None,
            path_style: false,
        };
        for option in options.split('&').filter(|o| !o.is_empty()) {
            match option.split_once('=') {
                Some(("endpoint", value)) => peer.endpoint = Some(value.to_owned()),
                Some(("region", value)) => peer.region = Some(value.to_owned()),
                Some(("path-style", "true")) => peer.path_style = true,
                Some(("path-style", "false")) => peer.path_style = false,
                _ => return Err(format!("'{option}' is not known; {rule}")),
            }
        }
        Ok(peer)
    }
}

impl PeerArg {
    /// How to reach its bucket. Credentials of its own come from variables that `variable` reads.
    ///
    /// # Errors
    /// Half of a pair of keys.
    pub fn s3(&self, variable: impl Fn(&str) -> Option<String>) -> Result<S3Config, String> {
        let name = self.name.as_str().to_uppercase().replace('-', "_");
        let own = |what: &str| {
            let found = variable(&format!("BRAINY_EXCHANGE_{name}_{what}"));
            found.filter(|text| !text.is_empty())
        };
        let mut config = S3Config::new(self.bucket.clone());
        config.prefix.clone_from(&self.prefix);
        config.endpoint.clone_from(&self.endpoint);
        config.region.clone_from(&self.region);
        config.path_style = self.path_style;
        config.credentials = match (own("ACCESS_KEY_ID"), own("SECRET_ACCESS_KEY")) {
            (None, None) => Credentials::DefaultChain,
            (Some(access_key), Some(secret_key)) => Credentials::Static {
                access_key,
                secret_key,
                session_token: own("SESSION_TOKEN"),
            },
            _ => {
                return Err(format!(
                    "BRAINY_EXCHANGE_{name}_ACCESS_KEY_ID and BRAINY_EXCHANGE_{name}_SECRET_ACCESS_KEY are needed together"
                ));
            }
        };
        Ok(config)
    }
}

impl ExchangeArgs {
    /// Pause between looks.
    #[must_use]
    pub fn poll(&self) -> Duration {
        Duration::from_millis(self.exchange_poll_interval_ms)
    }

    /// The peers, each under a name of its own.
    ///
    /// # Errors
    /// A name that two of them have.
    pub fn peers(&self) -> Result<&[PeerArg], String> {
        for (i, peer) in self.exchange_with.iter().enumerate() {
            if self.exchange_with[..i].iter().any(|p| p.name == peer.name) {
                return Err(format!(
                    "--exchange-with names '{}' twice: give each cluster a name of its own",
                    peer.name
                ));
            }
        }
        Ok(&self.exchange_with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_read_and_misspelt_ones_refused() {
        let plain: PeerArg = "east=s3://vectors/team-a/".parse().unwrap();
        let config = plain.s3(|_| None).unwrap();
        assert_eq!((&*config.bucket, &*config.prefix), ("vectors", "team-a"));
        assert!(matches!(config.credentials, Credentials::DefaultChain));
        let full = "eu-west=s3://b?endpoint=http://127.0.0.1:9000&region=eu&path-style=true";
        let full: PeerArg = full.parse().unwrap();
        let keys = |name: &str| match name {
            "BRAINY_EXCHANGE_EU_WEST_ACCESS_KEY_ID" => Some("id".to_owned()),
            "BRAINY_EXCHANGE_EU_WEST_SECRET_ACCESS_KEY" => Some("secret".to_owned()),
            _ => None,
        };
        let config = full.s3(keys).unwrap();
        assert_eq!(config.endpoint.as_deref(), Some("http://127.0.0.1:9000"));
        assert_eq!(
            (config.region.as_deref(), config.path_style),
            (Some("eu"), true)
        );
        assert!(matches!(config.credentials, Credentials::Static { .. }));
        let half = |name: &str| name.ends_with("ACCESS_KEY_ID").then(|| "id".to_owned());
        assert!(full.s3(half).unwrap_err().contains("needed together"));
        for bad in [
            "s3://b/p",
            "East=s3://b",
            "east=http://b",
            "east=s3://",
            "east=s3://b?endpiont=x",
            "east=s3://key:secret@b/p",
        ] {
            assert!(bad.parse::<PeerArg>().is_err(), "{bad}");
        }
        let twice = ExchangeArgs {
            exchange_with: vec![plain.clone(), plain],
            exchange_poll_interval_ms: 1000,
        };
        assert!(twice.peers().unwrap_err().contains("twice"));
    }
}
