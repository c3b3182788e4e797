//! The origin of a connection, and its owner.

use crate::socket::Socket;
use nix::sys::socket::sockopt::PeerCredentials;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The owner of connections, for fair shares: a user for unix sockets, an address for TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Peer {
    User(u32),
    Address(IpAddr),
}

/// The other end of a client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A process of this machine, through a unix socket.
    Unix {
        /// The user of the process when it connected.
        user: u32,
        /// The process number when it connected. `None` if the process is outside the pid
        /// namespace of this process, for example the host of a container that serves it.
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

    /// Returns the owner of the connection. A machine usually has a whole /64 network of IPv6
    /// addresses, so the first 64 bits count.
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

/// Returns a process number; `None` for 0 or less, which means that it is unknown here.
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
