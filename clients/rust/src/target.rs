//! Owns the addresses that a store can be at.

use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::Error;

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The host is without the brackets of an IPv6 address.
    Tcp {
        host: String,
        port: u16,
    },
    Unix(PathBuf),
}

impl Target {
    /// Whether it stays on this machine: a Unix socket or a loopback address.
    pub(crate) fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp { host, .. } => {
                host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
            }
        }
    }

    /// The name that a server's certificate must bear.
    pub(crate) fn host(&self) -> &str {
        match self {
            Self::Unix(_) => "localhost",
            Self::Tcp { host, .. } => host,
        }
    }

    /// The host and port of a URI.
    pub(crate) fn authority(&self) -> String {
        match self {
            Self::Unix(_) => "localhost".to_owned(),
            Self::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Self::Tcp { host, port } => format!("{host}:{port}"),
        }
    }
}

impl FromStr for Target {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if let Some(path) = text.strip_prefix("unix:").filter(|path| path.starts_with('/')) {
            return Ok(Self::Unix(path.into()));
        }
        tcp(text).ok_or_else(|| {
            Error::usage(format!(
                "the target is {text:?}; it must be host:port, for example localhost:50051, [v6 address]:port, or \
                 unix:/path"
            ))
        })
    }
}

fn tcp(text: &str) -> Option<Target> {
    let (host, digits) = text.rsplit_once(':')?;
    let port = digits.parse().ok().filter(|port| *port != 0 && digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    let host = match host.strip_prefix('[') {
        Some(bracketed) => bracketed.strip_suffix(']').filter(|address| address.parse::<Ipv6Addr>().is_ok())?,
        None => Some(host).filter(|host| is_name(host))?,
    };
    Some(Target::Tcp { host: host.to_owned(), port })
}

/// Whether it can be a name of DNS or an IPv4 address.
fn is_name(host: &str) -> bool {
    !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Target {
        Target::Tcp { host: host.to_owned(), port }
    }

    #[test]
    fn an_address_is_a_host_with_a_port_or_a_socket() {
        let read = |text: &str| text.parse::<Target>().unwrap();
        assert_eq!(read("localhost:50051"), tcp("localhost", 50051));
        assert_eq!(read("store-1.example_a:1"), tcp("store-1.example_a", 1));
        assert_eq!(read("[::1]:50051"), tcp("::1", 50051));
        assert_eq!(read("[::1]:50051").authority(), "[::1]:50051");
        assert_eq!(read("unix:/run/a b.sock"), Target::Unix("/run/a b.sock".into()));
    }

    #[test]
    fn anything_else_is_refused_as_wrong_usage() {
        for text in [
            "",
            "localhost",
            ":1",
            "localhost:",
            "localhost:0",
            "localhost:65536",
            "localhost:+1",
            "::1:50051",
            "[::1]",
            "[::1]:x",
            "[localhost]:1",
            "unix:",
            "unix:run",
            "http://localhost:1",
            "dns:localhost:1",
            "a,b:1",
            "a b:1",
            "me@localhost:1",
            "localhost:1/path",
        ] {
            let error = text.parse::<Target>().expect_err(text);
            assert_eq!(error.kind(), crate::ErrorKind::Usage, "{text}");
        }
    }

    #[test]
    fn only_loopback_and_sockets_are_local() {
        let is_local = |text: &str| text.parse::<Target>().unwrap().is_local();
        for text in ["localhost:1", "127.0.0.1:1", "127.8.9.1:1", "[::1]:1", "unix:/a"] {
            assert!(is_local(text), "{text}");
        }
        for text in ["LOCALHOST:1", "localhost.example:1", "10.0.0.1:1", "[2001:db8::1]:1", "store:1"] {
            assert!(!is_local(text), "{text}");
        }
    }
}
