//! The command line of `brainyd pre-stop`.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio_rustls::rustls::pki_types::ServerName;

/// Where a node listens unless it is told otherwise.
const PORT: u16 = 6333;

/// Waits while the node beside this process gives its partitions away, then ends. For an orchestrator that ends the node next.
///
/// Ends when the node holds no partition, when no other member can take what it holds, when nobody has begun to drain it
/// within 10 seconds, when it does not answer for 5 seconds, or when the time is over. The exit code is 0 in each case, and
/// standard error says which it was: an orchestrator goes on in any case.
#[derive(Clone, Debug, Args)]
pub struct PreStop {
    /// The node's address; https if --tls-cert is given and port 6333 at BRAINY_POD_IP or 127.0.0.1 if this is not.
    #[arg(long, env = "BRAINY_PRE_STOP_URL", value_parser = Address::parse)]
    pub url: Option<Address>,
    /// Address of the pod; --url says more.
    #[arg(long, env = "BRAINY_POD_IP", hide = true)]
    pub pod_ip: Option<IpAddr>,
    /// Longest time to wait, such as 45s, 500ms or 2m.
    #[arg(long, env = "BRAINY_PRE_STOP_TIMEOUT", default_value = "45s", value_parser = duration)]
    pub timeout: Duration,
    /// The node's certificate, PEM: the server that shows it is believed, whatever address it is asked at.
    #[arg(long, env = "BRAINY_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// Authorities that sign the nodes' certificates, PEM; need not exist.
    #[arg(long, env = "BRAINY_TLS_CA", value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// Where other nodes reach this one, host:port: the name that its certificate is verified against if it is another one than
    /// in --tls-cert.
    #[arg(long, env = "BRAINY_ADVERTISE")]
    pub advertise: Option<String>,
    /// The node's admin key, if it has keys.
    #[arg(long, env = "BRAINY_API_KEY", hide_env_values = true)]
    pub api_key: Option<String>,
    /// Its key for reading, which is enough.
    #[arg(long, env = "BRAINY_READ_ONLY_API_KEY", hide_env_values = true)]
    pub read_only_api_key: Option<String>,
}

/// Where to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Whether over TLS.
    pub tls: bool,
    /// `host:port`.
    pub authority: String,
}

impl Address {
    fn parse(url: &str) -> Result<Self, String> {
        let (tls, rest) = match url.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            _ => return Err("an address such as http://10.0.0.7:6333 is needed".to_owned()),
        };
        let authority: http::uri::Authority = rest
            .trim_end_matches('/')
            .parse()
            .map_err(|e| format!("{e}; an address such as http://10.0.0.7:6333 is needed"))?;
        let authority = match authority.port() {
            Some(_) => authority.to_string(),
            None => format!("{authority}:{PORT}"),
        };
        Ok(Self { tls, authority })
    }
}

impl PreStop {
    /// Where to ask.
    #[must_use]
    pub fn address(&self) -> Address {
        self.url.clone().unwrap_or_else(|| {
            let ip = self.pod_ip.unwrap_or(Ipv4Addr::LOCALHOST.into());
            Address {
                tls: self.tls_cert.is_some(),
                authority: std::net::SocketAddr::new(ip, PORT).to_string(),
            }
        })
    }

    /// A key that opens `/health`.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        let key = self.api_key.as_ref().or(self.read_only_api_key.as_ref());
        key.map(String::as_str)
    }

    /// The name that the node is known by to others, if that is a name.
    #[must_use]
    pub fn server_name(&self) -> Option<ServerName<'static>> {
        let authority: http::uri::Authority = self.advertise.as_ref()?.parse().ok()?;
        let host = authority.host().trim_matches(['[', ']']);
        ServerName::try_from(host.to_owned()).ok()
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is not a time such as 45s, 500ms or 2m");
    let unit = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(unit);
    let number: u32 = number.parse().map_err(|_| wrong())?;
    let unit = match unit {
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        _ => return Err(wrong()),
    };
    Ok(unit * number)
}

#[cfg(test)]
mod tests {
    use super::super::{Cli, Invocation};
    use super::*;

    fn pre_stop(args: &[&str]) -> Result<PreStop, clap::Error> {
        let args = ["brainyd", "pre-stop"].iter().chain(args);
        match Invocation::try_from_args(args)? {
            Invocation::PreStop(args) => Ok(args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn without_a_subcommand_brainyd_serves_and_a_subcommand_takes_no_options_of_a_node() {
        let served = |args: &[&str]| match Invocation::try_from_args(args) {
            Ok(Invocation::Serve(cli)) => cli.instance.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(served(&["brainyd"]), "standalone");
        let node = [
            "brainyd",
            "--role",
            "writer",
            "--instance",
            "writer-0",
            "--s3-bucket",
            "b",
        ];
        assert_eq!(served(&node), "writer-0");
        assert!(Invocation::try_from_args(["brainyd", "--role", "writer"]).is_err());
        let mixed = ["brainyd", "--role", "reader", "pre-stop"];
        assert!(Invocation::try_from_args(mixed).is_err());
        assert!(Invocation::try_from_args(["brainyd", "stop"]).is_err());
        assert!(pre_stop(&[]).is_ok());
        // The types agree on what a node's command line is.
        <Cli as clap::Parser>::try_parse_from(node).unwrap();
    }

    #[test]
    fn the_address_is_the_pods_unless_told_otherwise() {
        let address = |args: &[&str]| {
            let Address { tls, authority } = pre_stop(args).unwrap().address();
            (tls, authority)
        };
        let plain = |authority: &str| (false, authority.to_owned());
        let tls = |authority: &str| (true, authority.to_owned());
        assert_eq!(address(&[]), plain("127.0.0.1:6333"));
        assert_eq!(address(&["--pod-ip", "10.0.0.7"]), plain("10.0.0.7:6333"));
        assert_eq!(address(&["--pod-ip", "fd00::7"]), plain("[fd00::7]:6333"));
        assert_eq!(address(&["--tls-cert", "c"]), tls("127.0.0.1:6333"));
        let url = ["--tls-cert", "c", "--url", "http://a:1/"];
        assert_eq!(address(&url), plain("a:1"));
        assert_eq!(address(&["--url", "https://a"]), tls("a:6333"));
        for wrong in ["a:1", "ftp://a", "http://", "http://a b"] {
            assert!(pre_stop(&["--url", wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_have_units() {
        let timeout = |text: &str| pre_stop(&["--timeout", text]).map(|args| args.timeout);
        assert_eq!(timeout("45s").unwrap(), Duration::from_secs(45));
        assert_eq!(timeout("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(timeout("2m").unwrap(), Duration::from_secs(120));
        for wrong in ["45", "s", "", "1.5s", "2h", "-1s", "99999999999s"] {
            assert!(timeout(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_certificate_is_verified_against_the_advertised_name() {
        let name = |advertise: &str| {
            let args = pre_stop(&["--advertise", advertise]).unwrap();
            args.server_name().map(|name| name.to_str().into_owned())
        };
        let pod = "writer-0.one-writer-headless.team.svc";
        assert_eq!(name(&format!("{pod}:6333")).as_deref(), Some(pod));
        assert_eq!(name("10.0.0.7:6333").as_deref(), Some("10.0.0.7"));
        assert_eq!(name("[fd00::7]:6333").as_deref(), Some("fd00::7"));
    }
}
