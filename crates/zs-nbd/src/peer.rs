//! The other side of a connection, and whose it is.

use crate::socket::Socket;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Who has a share: a user at unix sockets, an address at TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Peer {
    User(u32),
    Address(IpAddr),
}

/// Where a client comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A process of this machine, at a unix socket.
    Unix {
        /// The user that it ran as when it connected.
        user: u32,
        /// Its number at that moment.
        process: u32,
    },
    /// An address and port.
    Tcp(SocketAddr),
}

impl Origin {
    pub(crate) fn of(socket: &Socket) -> io::Result<Self> {
        Ok(match socket {
            Socket::Unix(stream) => {
                let peer = rustix::net::sockopt::socket_peercred(stream)?;
                Self::Unix {
                    user: peer.uid.as_raw(),
                    process: peer.pid.as_raw_pid().cast_unsigned(),
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
            Self::Unix { user, process } => write!(f, "user {user}, process {process}"),
            Self::Tcp(address) => write!(f, "{address}"),
        }
    }
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
        assert_eq!(unix(1000, 1), unix(1000, 2));
        assert_ne!(unix(1000, 1), unix(0, 1));
    }
}
