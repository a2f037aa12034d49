//! Who asks: address, network, user agent, what is accepted.

use crate::store::responses::{Accept, Visit};
use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A visitor. The whole address is used for seconds and kept nowhere; `visit` is what is kept.
#[derive(Debug, Clone)]
pub struct Visitor {
    pub address: Option<IpAddr>,
    pub visit: Visit,
}

impl<S: Sync> FromRequestParts<S> for Visitor {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
        Ok(Visitor::of(&parts.method, &parts.headers, peer))
    }
}

impl Visitor {
    pub fn of(method: &Method, headers: &HeaderMap, peer: Option<IpAddr>) -> Self {
        let address = address(headers, peer);
        let agent = headers.get(header::USER_AGENT).map(|value| String::from_utf8_lossy(value.as_bytes())).unwrap_or_default();
        let agent = agent.chars().filter(|character| !character.is_control()).take(256).collect();
        let accept = match headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()) {
            None => Accept::Absent,
            Some(text) if text.contains("image/") || text.contains("*/*") => Accept::Image,
            Some(_) => Accept::Other,
        };
        let network = address.map(network).unwrap_or_default();
        Visitor { address, visit: Visit { agent, network, head: *method != Method::GET, accept, crowd: false } }
    }
}

/// The peer, or what a proxy on this machine or a private network says it speaks for: the last entry of X-Forwarded-For.
fn address(headers: &HeaderMap, peer: Option<IpAddr>) -> Option<IpAddr> {
    let is_ours = peer.is_none_or(|peer| match peer.to_canonical() {
        IpAddr::V4(peer) => peer.is_loopback() || peer.is_private() || peer.is_link_local(),
        IpAddr::V6(peer) => peer.is_loopback() || peer.is_unique_local(),
    });
    let forwarded = headers.get_all("x-forwarded-for").iter().next_back().and_then(|value| value.to_str().ok());
    let forwarded = forwarded.and_then(|list| list.rsplit(',').next()?.trim().parse::<IpAddr>().ok());
    forwarded.filter(|_| is_ours).or(peer).map(|address| address.to_canonical())
}

/// An IPv4 address without its last byte; the first 48 bits of an IPv6 one.
fn network(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            Ipv4Addr::new(a, b, c, 0).to_string()
        }
        IpAddr::V6(address) => {
            let [a, b, c, ..] = address.segments();
            Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0).to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_proxy_of_ours_may_say_whom_it_speaks_for() {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", "198.51.100.7, 203.0.113.9".parse().unwrap());
        let of = |peer: &str| Visitor::of(&Method::GET, &headers, Some(peer.parse().unwrap())).visit.network;
        assert_eq!(of("127.0.0.1"), "203.0.113.0");
        assert_eq!(of("::ffff:10.0.0.1"), "203.0.113.0");
        assert_eq!(of("192.0.2.44"), "192.0.2.0");
        assert_eq!(of("2001:db8:1:2::3"), "2001:db8:1::");
    }
}
