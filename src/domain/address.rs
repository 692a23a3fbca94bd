//! Client addresses, as limits and guards count them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The part of an address that one customer holds: all of IPv4's, the /64 of IPv6's, where
/// everybody has 2⁶⁴ to choose from (RFC 6177 section 2). An IPv4 address that is written as an
/// IPv6 one (RFC 4291 section 2.5.5.2) is the IPv4 address.
pub fn customer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) & (u128::MAX << 64))),
    }
}

/// The network around an address that one attacker can have many of: IPv4's /24, IPv6's /48, what
/// a site is given (RFC 6177 section 2).
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from(u32::from(v4) & (u32::MAX << 8))),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) & (u128::MAX << 80))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_customer_is_an_ipv4_address_or_an_ipv6_network() {
        let cases = [
            ("10.0.0.1", "10.0.0.1"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("::1", "::"),
        ];
        for (address, wanted) in cases {
            assert_eq!(customer(address.parse().unwrap()), wanted.parse::<IpAddr>().unwrap());
        }
    }
}
