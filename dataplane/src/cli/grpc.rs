//! Where gRPC listens.

use std::net::SocketAddr;
use std::str::FromStr;

/// A port of its own for gRPC, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrpcListen {
    /// This address.
    At(SocketAddr),
    /// No port of its own.
    Off,
}

impl FromStr for GrpcListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        text.parse()
            .map(Self::At)
            .map_err(|e| format!("{e}: use an address such as 127.0.0.1:6334, or 'off'"))
    }
}

impl GrpcListen {
    /// What was asked for; or else the port after that of `listen`, if that one was chosen and has one after it.
    #[must_use]
    pub fn address(asked: Option<Self>, listen: SocketAddr) -> Option<SocketAddr> {
        match asked {
            Some(Self::At(address)) => Some(address),
            Some(Self::Off) => None,
            None if listen.port() == 0 => None,
            None => {
                let port = listen.port().checked_add(1)?;
                Some(SocketAddr::new(listen.ip(), port))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_has_the_next_port_unless_it_is_told_otherwise() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let address = |asked: Option<&str>, listen: &str| {
            let asked = asked.map(|text| text.parse().unwrap());
            GrpcListen::address(asked, at(listen))
        };
        let listen = "127.0.0.1:6333";
        assert_eq!(address(None, listen), Some(at("127.0.0.1:6334")));
        assert_eq!(address(None, "[::1]:7000"), Some(at("[::1]:7001")));
        assert_eq!(address(None, "127.0.0.1:0"), None);
        assert_eq!(address(None, "127.0.0.1:65535"), None);
        assert_eq!(address(Some("off"), listen), None);
        let chosen = address(Some("0.0.0.0:9000"), "127.0.0.1:0");
        assert_eq!(chosen, Some(at("0.0.0.0:9000")));
        let wrong = "6334".parse::<GrpcListen>().unwrap_err();
        assert!(wrong.contains("off"), "{wrong}");
    }
}
