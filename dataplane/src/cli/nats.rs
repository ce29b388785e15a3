//! Options of the method `pubsub`: the NATS server.

use std::fmt;
use std::path::PathBuf;

use async_nats::ServerAddr;
use clap::Args;

use crate::events::nats::{NatsCredentials, NatsOptions, subject};

/// How to reach a NATS server; without effect unless the method of coordination is `pubsub`.
#[derive(Clone, Default, Args)]
pub struct NatsArgs {
    /// Servers of NATS for --coordination pubsub, nats://host:port or tls://host:port, separated by commas.
    #[arg(long, env = "BRAINY_NATS_URL", value_name = "URL", value_delimiter = ',', value_parser = server, required_if_eq("coordination", "pubsub"))]
    pub nats_url: Vec<ServerAddr>,
    /// User at the NATS server.
    #[arg(long, env = "BRAINY_NATS_USER", hide_env_values = true)]
    pub nats_user: Option<String>,
    /// Password of that user; the environment variable keeps it out of the list of processes.
    #[arg(long, env = "BRAINY_NATS_PASSWORD", hide_env_values = true)]
    pub nats_password: Option<String>,
    /// Token for the NATS server, in place of user and password.
    #[arg(long, env = "BRAINY_NATS_TOKEN", hide_env_values = true)]
    pub nats_token: Option<String>,
    /// PEM file with the authorities that sign the NATS server's certificate, besides the system's and those of --tls-ca.
    #[arg(long, env = "BRAINY_NATS_TLS_CA", value_name = "FILE")]
    pub nats_tls_ca: Option<PathBuf>,
}

impl fmt::Debug for NatsArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsArgs").finish_non_exhaustive()
    }
}

/// An address without user and password, which would be in the list of processes and in messages.
fn server(text: &str) -> Result<ServerAddr, String> {
    let rule = "write it like nats://nats.messaging:4222 or tls://nats.messaging:4222";
    let address: ServerAddr = text.parse().map_err(|e| format!("{e}; {rule}"))?;
    if address.has_user_pass() {
        return Err("it has a user name: set BRAINY_NATS_USER and BRAINY_NATS_PASSWORD, or BRAINY_NATS_TOKEN".to_owned());
    }
    if !matches!(address.scheme(), "nats" | "tls") {
        return Err(format!("the scheme is {}; {rule}", address.scheme()));
    }
    Ok(address)
}

impl NatsArgs {
    /// What the back end needs, for the cluster at `prefix` of `bucket`. A variable that is set and empty counts as absent.
    ///
    /// # Errors
    /// Credentials that do not fit together.
    pub fn options(
        &self,
        client_name: &str,
        bucket: &str,
        prefix: &str,
        tls_ca: Option<&PathBuf>,
    ) -> Result<NatsOptions, String> {
        let given = |text: &Option<String>| text.clone().filter(|t| !t.is_empty());
        let credentials = match (
            given(&self.nats_user),
            given(&self.nats_password),
            given(&self.nats_token),
        ) {
            (None, None, None) => NatsCredentials::None,
            (Some(user), Some(password), None) => NatsCredentials::User(user, password),
            (None, None, Some(token)) => NatsCredentials::Token(token),
            (_, _, Some(_)) => {
                return Err("--nats-token is for servers without users: give it, or --nats-user and --nats-password".to_owned());
            }
            _ => {
                return Err("--nats-user and --nats-password are needed together".to_owned());
            }
        };
        Ok(NatsOptions {
            servers: self.nats_url.clone(),
            credentials,
            authorities: self.nats_tls_ca.iter().chain(tls_ca).cloned().collect(),
            client_name: client_name.to_owned(),
            subject: subject(bucket, prefix),
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Whole {
        #[arg(long, default_value = "s3-polling")]
        coordination: String,
        #[command(flatten)]
        nats: NatsArgs,
    }

    fn parse(args: &[&str]) -> Result<NatsArgs, String> {
        let args = ["brainyd"].iter().chain(args);
        let whole = Whole::try_parse_from(args).map_err(|e| e.to_string())?;
        assert!(!whole.coordination.is_empty());
        Ok(whole.nats)
    }

    #[test]
    fn pubsub_needs_a_server_and_nothing_else_does() {
        assert!(parse(&[]).is_ok());
        let error = parse(&["--coordination", "pubsub"]).unwrap_err();
        assert!(error.contains("--nats-url"), "{error}");
        let two = "nats://a:4222,tls://b";
        let args = parse(&["--coordination", "pubsub", "--nats-url", two]).unwrap();
        assert_eq!(args.nats_url.len(), 2);
    }

    #[test]
    fn addresses_hold_no_secrets_and_lead_to_nats() {
        for (url, named) in [
            ("nats://ann:hunter2@a:4222", "BRAINY_NATS_USER"),
            ("http://a:4222", "nats://"),
            ("ws://a:4222", "nats://"),
        ] {
            let error = server(url).unwrap_err();
            assert!(error.contains(named), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn credentials_fit_together() {
        let shown = |args: &[&str]| {
            let args = parse(args).unwrap();
            args.options("n-0", "b", "p", None).map(|o| o.credentials)
        };
        assert!(matches!(shown(&[]), Ok(NatsCredentials::None)));
        assert!(matches!(
            shown(&[
                "--nats-user",
                "u",
                "--nats-password",
                "p",
                "--nats-token",
                ""
            ]),
            Ok(NatsCredentials::User(..))
        ));
        assert!(matches!(
            shown(&["--nats-token", "t"]),
            Ok(NatsCredentials::Token(_))
        ));
        assert!(shown(&["--nats-user", "u"]).is_err());
        assert!(shown(&["--nats-token", "t", "--nats-user", "u"]).is_err());
    }
}
