//! An address of this machine's loopback for every node and pod.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::sync::{Arc, Mutex};

use super::lock;
use crate::HarnessError;

/// Where a kubelet listens. Ours holds the port so that no other takes the same network.
const KUBELET_PORT: u16 = 10250;
/// Second bytes of the networks: what other programs like to use begins with 127.0.
const SECOND: std::ops::RangeInclusive<u8> = 64..=250;

/// A network `127.x.y.0/24` that belongs to one kubelet on this machine.
#[derive(Debug)]
pub(super) struct Addresses {
    network: [u8; 3],
    used: Mutex<Used>,
    /// Holding it keeps others away.
    _reserved: TcpListener,
}

#[derive(Debug, Default)]
struct Used {
    last: u8,
    now: BTreeSet<u8>,
}

impl Addresses {
    pub(super) fn reserve() -> Result<Arc<Self>, HarnessError> {
        let mut last = None;
        for _ in 0..100 {
            let network = [127, rand::random_range(SECOND), rand::random()];
            let [a, b, c] = network;
            match TcpListener::bind((Ipv4Addr::new(a, b, c, 255), KUBELET_PORT)) {
                Ok(listener) => {
                    return Ok(Arc::new(Self {
                        network,
                        used: Mutex::default(),
                        _reserved: listener,
                    }));
                }
                Err(error) => last = Some(error),
            }
        }
        let source = last.unwrap_or_else(|| std::io::Error::other("no try"));
        Err(HarnessError::io(
            "reserve",
            "a network of loopback addresses",
        )(source))
    }

    /// An address that nobody else has, given back when dropped. Addresses go round, so that who still believes in an old
    /// one meets nobody. `None`: all 253 are in use.
    pub(super) fn lease(self: &Arc<Self>) -> Option<Lease> {
        let mut used = lock(&self.used);
        let host = (0..=u8::MAX)
            .map(|step| used.last.wrapping_add(step).wrapping_add(1))
            .find(|host| (1..255).contains(host) && !used.now.contains(host))?;
        used.last = host;
        used.now.insert(host);
        Some(Lease {
            host,
            of: self.clone(),
        })
    }
}

/// One address.
#[derive(Debug)]
pub(super) struct Lease {
    host: u8,
    of: Arc<Addresses>,
}

impl Lease {
    pub(super) fn address(&self) -> Ipv4Addr {
        let [a, b, c] = self.of.network;
        Ipv4Addr::new(a, b, c, self.host)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        lock(&self.of.used).now.remove(&self.host);
    }
}

/// The address as Kubernetes lets it stand in an EndpointSlice, where loopback addresses are refused: `127.1.2.3` is
/// `fd00::7f01:203`. It leads nowhere until [`reachable`] has turned it back.
pub(super) fn as_ipv6(address: Ipv4Addr) -> Ipv6Addr {
    let [a, b, c, d] = address.octets().map(u16::from);
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, a << 8 | b, c << 8 | d)
}

/// Where to connect to for an address that a pod, an EndpointSlice or the environment of a process names. `None`: it is
/// not one of a pod here.
#[must_use]
pub fn reachable(address: &str) -> Option<Ipv4Addr> {
    let found = match address.parse().ok()? {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => {
            let [a, b, c, d] = (address.to_bits() as u32).to_be_bytes();
            let found = Ipv4Addr::new(a, b, c, d);
            (as_ipv6(found) == address).then_some(found)?
        }
    };
    found.is_loopback().then_some(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_address_is_given_once_and_again_only_after_the_others() {
        let addresses = Addresses::reserve().unwrap();
        let first = addresses.lease().unwrap();
        let freed = first.address();
        drop(first);
        let leases: Vec<Lease> = (0..254).map(|_| addresses.lease().unwrap()).collect();
        assert!(addresses.lease().is_none());
        let distinct: BTreeSet<Ipv4Addr> = leases.iter().map(Lease::address).collect();
        assert_eq!(distinct.len(), 254);
        assert_eq!(leases.last().unwrap().address(), freed);
        let other = Addresses::reserve().unwrap();
        assert_ne!(other.network, addresses.network);
    }

    #[test]
    fn the_form_for_endpoints_can_be_turned_back() {
        let address = Ipv4Addr::new(127, 91, 2, 3);
        let written = as_ipv6(address).to_string();
        assert_eq!(written, "fd00::7f5b:203");
        assert_eq!(reachable(&written), Some(address));
        assert_eq!(reachable("127.91.2.3"), Some(address));
        for other in ["10.0.0.1", "fd00::1", "fe80::7f5b:203", "name"] {
            assert_eq!(reachable(other), None, "{other}");
        }
    }
}
