//! Addresses as a rule matches them, for each family.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Sources and destinations that nobody has on the Internet: RFC 6890 and its registry, and multicast.
const BOGONS_V4: &[Ipv4Net] = &[
    v4(0, 0, 0, 0, 8),
    v4(10, 0, 0, 0, 8),
    v4(100, 64, 0, 0, 10),
    v4(127, 0, 0, 0, 8),
    v4(169, 254, 0, 0, 16),
    v4(172, 16, 0, 0, 12),
    v4(192, 0, 0, 0, 24),
    v4(192, 0, 2, 0, 24),
    v4(192, 168, 0, 0, 16),
    v4(198, 18, 0, 0, 15),
    v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),
    v4(224, 0, 0, 0, 3),
];

/// What is outside 2000::/3, and in it Teredo, benchmarking, ORCHID, 6to4 and documentation.
const BOGONS_V6: &[Ipv6Net] = &[
    v6(0, 0, 3),
    v6(0x4000, 0, 2),
    v6(0x8000, 0, 1),
    v6(0x2001, 0, 32),
    v6(0x2001, 0x2, 48),
    v6(0x2001, 0x10, 28),
    v6(0x2001, 0xdb8, 32),
    v6(0x2002, 0, 16),
    v6(0x3fff, 0, 20),
];

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(a: u16, b: u16, length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), length)
}

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// As nft names its header.
    pub(crate) fn header(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }

    /// The expression of one source, as limits count: an IPv4 address, or an IPv6 /64, which one customer has.
    pub(crate) fn source(self) -> &'static str {
        match self {
            Self::V4 => "ip saddr",
            Self::V6 => "ip6 saddr & ffff:ffff:ffff:ffff::",
        }
    }

    fn has(self, net: &IpNet) -> bool {
        matches!((self, net), (Self::V4, IpNet::V4(_)) | (Self::V6, IpNet::V6(_)))
    }
}

/// Whom a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Peers {
    /// These.
    Only(Vec<IpNet>),
    /// The Internet: all but these.
    AllBut(Vec<IpNet>),
}

impl Peers {
    pub(crate) fn has(&self, family: Family) -> bool {
        match self {
            Self::Only(nets) => nets.iter().any(|net| family.has(net)),
            Self::AllBut(_) => true,
        }
    }

    /// `ip saddr { … }` for `which` = `saddr`, where there are any of the family.
    pub(crate) fn clause(&self, family: Family, which: &str) -> Option<String> {
        let (operator, nets) = match self {
            Self::Only(nets) => ("", nets),
            Self::AllBut(nets) => ("!= ", nets),
        };
        let set = set(nets, family)?;
        Some(format!("{} {which} {operator}{set}", family.header()))
    }
}

/// `{ 10.0.0.0/8, … }` of what belongs to the family, joined where it can be; `None` where nothing does.
pub(crate) fn set(nets: &[IpNet], family: Family) -> Option<String> {
    let nets: Vec<IpNet> = nets.iter().filter(|net| family.has(net)).copied().collect();
    let mut nets = IpNet::aggregate(&nets);
    nets.sort();
    let text: Vec<String> = nets.iter().map(shown).collect();
    (!text.is_empty()).then(|| format!("{{ {} }}", text.join(", ")))
}

fn shown(net: &IpNet) -> String {
    match net.prefix_len() == net.max_prefix_len() {
        true => net.addr().to_string(),
        false => net.to_string(),
    }
}

pub(crate) fn bogons() -> Vec<IpNet> {
    let v4 = BOGONS_V4.iter().copied().map(IpNet::V4);
    v4.chain(BOGONS_V6.iter().copied().map(IpNet::V6)).collect()
}

pub(crate) fn nets(addresses: &[IpAddr]) -> Vec<IpNet> {
    addresses.iter().copied().map(IpNet::from).collect()
}

/// Whether the two have an address in common.
pub(crate) fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &[&str]) -> Vec<IpNet> {
        text.iter().map(|net| net.parse().unwrap()).collect()
    }

    #[test]
    fn a_clause_joins_networks_and_leaves_out_the_other_family() {
        let peers = Peers::Only(parse(&["10.0.1.0/24", "fd00::1/128", "10.0.0.0/24", "10.0.0.7/32"]));
        assert_eq!(peers.clause(Family::V4, "saddr").unwrap(), "ip saddr { 10.0.0.0/23 }");
        assert_eq!(peers.clause(Family::V6, "daddr").unwrap(), "ip6 daddr { fd00::1 }");
        assert_eq!(Peers::Only(parse(&["10.0.0.0/8"])).clause(Family::V6, "saddr"), None);
        let peers = Peers::AllBut(parse(&["10.0.0.0/8"]));
        assert_eq!(peers.clause(Family::V4, "saddr").unwrap(), "ip saddr != { 10.0.0.0/8 }");
    }

    #[test]
    fn what_is_in_use_on_the_internet_is_no_bogon() {
        let is_bogon = |address: &str| {
            let address: IpAddr = address.parse().unwrap();
            bogons().iter().any(|net| net.contains(&address))
        };
        for good in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "172.32.0.1",
            "223.5.5.5",
            "2400:3200::1",
            "2001:4860::1",
        ] {
            assert!(!is_bogon(good), "{good}");
        }
        for bad in [
            "10.1.1.1",
            "127.0.0.1",
            "169.254.169.254",
            "255.255.255.255",
            "::1",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:1.1.1.1",
        ] {
            assert!(is_bogon(bad), "{bad}");
        }
    }
}
