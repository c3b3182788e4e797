//! The other side of a connection, and whose it is.

use crate::socket::Socket;
use nix::sys::socket::sockopt::PeerCredentials;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The holder of a share: a user at unix sockets, an address at TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Peer {
    User(u32),
    Address(IpAddr),
}

/// The origin of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A process of this machine, at a unix socket.
    Unix {
        /// The user that it ran as when it connected.
        user: u32,
        /// Its number at that moment; none if it is outside of the namespace of this process, as
        /// it may be where a container serves its host.
        process: Option<u32>,
    },
    /// An address and port.
    Tcp(SocketAddr),
}

impl Origin {
    pub(crate) fn of(socket: &Socket) -> io::Result<Self> {
        Ok(match socket {
            Socket::Unix(stream) => {
                let peer = nix::sys::socket::getsockopt(stream, PeerCredentials)?;
                Self::Unix {
                    user: peer.uid(),
                    process: known(peer.pid()),
                }
            }
            Socket::Tcp(stream) => Self::Tcp(stream.peer_addr()?),
        })
    }

    /// Whose connection it is. A machine has a network of IPv6 addresses to itself, so the first
    /// half counts.
    pub(crate) fn peer(&self) -> Peer {
        match self {
            Self::Unix { user, .. } => Peer::User(*user),
            Self::Tcp(address) => Peer::Address(match address.ip().to_canonical() {
                IpAddr::V6(ip) => {
                    let network = ip.to_bits() >> 64 << 64;
                    IpAddr::V6(Ipv6Addr::from_bits(network))
                }
                ip @ IpAddr::V4(_) => ip,
            }),
        }
    }

    pub(crate) fn is_unix(&self) -> bool {
        matches!(self, Self::Unix { .. })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix { user, process } => match process {
                Some(process) => write!(f, "user {user}, process {process}"),
                None => write!(f, "user {user}, a process of another namespace"),
            },
            Self::Tcp(address) => write!(f, "{address}"),
        }
    }
}

/// Returns the number of a process that the system knows here.
fn known(process: i32) -> Option<u32> {
    u32::try_from(process).ok().filter(|number| *number != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_one_peer() {
        let peer = |address: &str| Origin::Tcp(address.parse().unwrap()).peer();
        assert_eq!(peer("10.0.0.1:1"), peer("10.0.0.1:2"));
        assert_eq!(peer("10.0.0.1:1"), peer("[::ffff:10.0.0.1]:1"));
        assert_ne!(peer("10.0.0.1:1"), peer("10.0.0.2:1"));
        assert_eq!(peer("[2001:db8::1]:1"), peer("[2001:db8::2:3]:1"));
        assert_ne!(peer("[2001:db8::1]:1"), peer("[2001:db8:0:1::1]:1"));
        let unix = |user, process| Origin::Unix { user, process }.peer();
        assert_eq!(unix(1000, Some(1)), unix(1000, None));
        assert_ne!(unix(1000, Some(1)), unix(0, Some(1)));
    }

    #[test]
    fn a_process_of_another_namespace_has_no_number() {
        assert_eq!([0, -1, 7].map(known), [None, None, Some(7)]);
        let origin = Origin::Unix {
            user: 3,
            process: None,
        };
        let text = "user 3, a process of another namespace";
        assert_eq!(origin.to_string(), text);
    }
}
