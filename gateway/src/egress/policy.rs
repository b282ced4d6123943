//! Which addresses may be reached from here.
//!
//! A gateway that posts to any URL is a way into the network it stands in, unless it refuses what is not the
//! public internet. The table is the union of those of Svix, Hook0, Smokescreen and Convoy, from the IANA
//! special-purpose registries, with Azure's wire server, which none of them has. IPv6 addresses that carry an
//! IPv4 address are judged by it where they lead there as a matter of course (mapped, NAT64) and refused where
//! only a tunnel would (6to4, Teredo, ISATAP, compatible, translated).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// An address that may not be reached, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Blocked {
    /// What the address is, in words fit for a tenant: `a private network (RFC 1918)`.
    pub reason: &'static str,
}

/// Which addresses may be reached.
#[derive(Debug, Clone, Default)]
pub struct AddressPolicy {
    allow: Vec<IpNet>,
    own: Vec<IpAddr>,
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(high: [u16; 4], prefix: u8) -> Ipv6Net {
    let [a, b, c, d] = high;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0), prefix)
}

/// The first match gives the reason, so that the exact ones stand before the wide ones.
const BLOCKED_V4: &[(Ipv4Net, &str)] = &[
    (v4(169, 254, 169, 254, 32), "a cloud metadata service"),
    (v4(169, 254, 170, 2, 32), "a cloud metadata service (Amazon ECS)"),
    (v4(100, 100, 100, 200, 32), "a cloud metadata service (Alibaba)"),
    (v4(192, 0, 0, 192, 32), "a cloud metadata service (Oracle)"),
    // Looks public, and is answered by the host of every Azure machine.
    (v4(168, 63, 129, 16, 32), "the Azure wire server"),
    (v4(0, 0, 0, 0, 8), "this network (RFC 791)"),
    (v4(10, 0, 0, 0, 8), "a private network (RFC 1918)"),
    (v4(172, 16, 0, 0, 12), "a private network (RFC 1918)"),
    (v4(192, 168, 0, 0, 16), "a private network (RFC 1918)"),
    (v4(100, 64, 0, 0, 10), "a carrier's shared network (RFC 6598)"),
    (v4(127, 0, 0, 0, 8), "a loopback address"),
    (v4(169, 254, 0, 0, 16), "a link-local address"),
    (v4(192, 0, 0, 0, 24), "an IETF protocol address (RFC 6890)"),
    (v4(192, 88, 99, 0, 24), "a 6to4 relay (RFC 7526)"),
    (v4(192, 0, 2, 0, 24), "a documentation address (RFC 5737)"),
    (v4(198, 51, 100, 0, 24), "a documentation address (RFC 5737)"),
    (v4(203, 0, 113, 0, 24), "a documentation address (RFC 5737)"),
    (v4(198, 18, 0, 0, 15), "a benchmarking network (RFC 2544)"),
    (v4(224, 0, 0, 0, 4), "a multicast address"),
    (v4(255, 255, 255, 255, 32), "the broadcast address"),
    (v4(240, 0, 0, 0, 4), "a reserved address (RFC 1112)"),
];

const BLOCKED_V6: &[(Ipv6Net, &str)] = &[
    (Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), 128), "a cloud metadata service (Amazon)"),
    (Ipv6Net::new_assert(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128), "a cloud metadata service (Google)"),
    (Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 128), "the unspecified address"),
    (Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128), "a loopback address"),
    (v6([0x64, 0xff9b, 1, 0], 48), "a local-use translation prefix (RFC 8215)"),
    // Among them `::/96` (compatible) and `::ffff:0:0:0/96` (translated); mapped ones never come this far.
    (v6([0, 0, 0, 0], 8), "a reserved address, or an IPv4 address in disguise (RFC 4291)"),
    (v6([0x100, 0, 0, 0], 64), "a discard-only address (RFC 6666)"),
    (v6([0x2001, 0, 0, 0], 32), "a Teredo tunnel (RFC 4380)"),
    (v6([0x2001, 0, 0, 0], 23), "an IETF protocol address (RFC 2928)"),
    (v6([0x2001, 0xdb8, 0, 0], 32), "a documentation address (RFC 3849)"),
    (v6([0x2002, 0, 0, 0], 16), "a 6to4 tunnel (RFC 3056)"),
    (v6([0x3fff, 0, 0, 0], 20), "a documentation address (RFC 9637)"),
    (v6([0x5f00, 0, 0, 0], 16), "a segment routing address (RFC 9602)"),
    (v6([0xfc00, 0, 0, 0], 7), "a private network (RFC 4193)"),
    (v6([0xfe80, 0, 0, 0], 10), "a link-local address"),
    (v6([0xfec0, 0, 0, 0], 10), "a site-local address (RFC 3879)"),
    (v6([0xff00, 0, 0, 0], 8), "a multicast address"),
];

/// Where IANA hands out addresses of the public IPv6 internet. Anything else is refused, known or not.
const GLOBAL_UNICAST: Ipv6Net = v6([0x2000, 0, 0, 0], 3);

/// The well-known NAT64 prefix (RFC 6052): a translator behind it leads to the IPv4 address in the last 32
/// bits, which is how a machine without IPv4 reaches most endpoints.
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0], 96);

impl AddressPolicy {
    /// A policy that exempts `allow` (the operator's `--dangerous-allow-targets`) from the table, and adds
    /// `own`, this gateway's addresses, to it.
    #[must_use]
    pub fn new(allow: Vec<IpNet>, own: Vec<IpAddr>) -> Self {
        Self { allow, own: own.into_iter().map(meant).collect() }
    }

    /// Whether the operator allowed any range.
    #[must_use]
    pub fn allows_any(&self) -> bool {
        !self.allow.is_empty()
    }

    /// Whether an encrypted connection to this address may be opened.
    ///
    /// # Errors
    /// [`Blocked`] if not.
    pub fn check(&self, ip: IpAddr) -> Result<(), Blocked> {
        if self.is_allowed(ip) {
            return Ok(());
        }
        let meant = meant(ip);
        if self.own.contains(&meant) {
            return Err(Blocked { reason: "an address of this gateway itself" });
        }
        match meant {
            IpAddr::V4(ip) => check_v4(ip),
            IpAddr::V6(ip) => check_v6(ip),
        }
    }

    /// Whether a connection in clear (`http://`) to this address may be opened: only where the operator
    /// allowed it by name.
    ///
    /// # Errors
    /// [`Blocked`] if not.
    pub fn check_plain(&self, ip: IpAddr) -> Result<(), Blocked> {
        if self.is_allowed(ip) { Ok(()) } else { Err(Blocked { reason: "not encrypted: use https" }) }
    }

    fn is_allowed(&self, ip: IpAddr) -> bool {
        let meant = meant(ip);
        self.allow.iter().any(|net| net.contains(&ip) || net.contains(&meant))
    }
}

/// The address a packet to `ip` ends at: the IPv4 address inside a mapped or NAT64 one, else itself.
fn meant(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) if NAT64.contains(&ip) => {
            let [.., a, b, c, d] = ip.octets();
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        canonical => canonical,
    }
}

fn check_v4(ip: Ipv4Addr) -> Result<(), Blocked> {
    match BLOCKED_V4.iter().find(|(net, _)| net.contains(&ip)) {
        Some((_, reason)) => Err(Blocked { reason }),
        None => Ok(()),
    }
}

fn check_v6(ip: Ipv6Addr) -> Result<(), Blocked> {
    if let Some((_, reason)) = BLOCKED_V6.iter().find(|(net, _)| net.contains(&ip)) {
        return Err(Blocked { reason });
    }
    // An ISATAP interface id (RFC 5214) can stand behind any prefix.
    if let [_, _, _, _, 0 | 0x200, 0x5efe, _, _] = ip.segments() {
        return Err(Blocked { reason: "an ISATAP tunnel (RFC 5214)" });
    }
    if GLOBAL_UNICAST.contains(&ip) { Ok(()) } else { Err(Blocked { reason: "not a public address" }) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn every_row_is_refused_at_both_ends_with_its_reason() {
        let policy = AddressPolicy::default();
        for (net, reason) in BLOCKED_V4 {
            let first = policy.check(net.network().into()).unwrap_err();
            policy.check(net.broadcast().into()).unwrap_err();
            if net.prefix_len() > 16 {
                assert_eq!(first.reason, *reason, "{net}");
            }
        }
        for (net, _) in BLOCKED_V6 {
            policy.check(net.network().into()).unwrap_err();
            policy.check(net.broadcast().into()).unwrap_err();
        }
    }

    #[test]
    fn the_table() {
        let rows = [
            ("0.0.0.0", "this network"),
            ("0.1.2.3", "this network"),
            ("10.0.0.1", "private"),
            ("172.16.0.1", "private"),
            ("172.31.255.255", "private"),
            ("192.168.1.1", "private"),
            ("100.64.0.1", "carrier"),
            ("100.127.255.255", "carrier"),
            ("100.100.100.200", "metadata"),
            ("127.0.0.1", "loopback"),
            ("127.255.255.254", "loopback"),
            ("169.254.169.254", "metadata"),
            ("169.254.170.2", "metadata"),
            ("169.254.0.1", "link-local"),
            ("192.0.0.8", "IETF"),
            ("192.0.0.192", "metadata"),
            ("192.88.99.1", "6to4"),
            ("192.0.2.1", "documentation"),
            ("198.51.100.1", "documentation"),
            ("203.0.113.1", "documentation"),
            ("198.18.0.1", "benchmarking"),
            ("198.19.255.255", "benchmarking"),
            ("224.0.0.1", "multicast"),
            ("239.255.255.255", "multicast"),
            ("240.0.0.1", "reserved"),
            ("255.255.255.255", "broadcast"),
            ("168.63.129.16", "Azure"),
            ("::", "unspecified"),
            ("::1", "loopback"),
            ("::2", "disguise"),
            ("::8.8.8.8", "disguise"),
            ("::ffff:0:8.8.8.8", "disguise"),
            ("::5efe:8.8.8.8", "disguise"),
            ("::ffff:10.0.0.1", "private"),
            ("::ffff:127.0.0.1", "loopback"),
            ("::ffff:169.254.169.254", "metadata"),
            ("64:ff9b::127.0.0.1", "loopback"),
            ("64:ff9b::10.1.2.3", "private"),
            ("64:ff9b::a9fe:a9fe", "metadata"),
            ("64:ff9b:1::1", "translation"),
            ("100::1", "discard"),
            ("2001::1", "Teredo"),
            ("2001:0:53aa:64c:0:7fff:f5ff:fffe", "Teredo"),
            ("2001:10::1", "IETF"),
            ("2001:1ff::1", "IETF"),
            ("2001:db8::1", "documentation"),
            ("2002:7f00:1::", "6to4"),
            ("2002:808:808::1", "6to4"),
            ("3fff::1", "documentation"),
            ("5f00::1", "segment"),
            ("fc00::1", "private"),
            ("fd00:ec2::254", "metadata"),
            ("fd20:ce::254", "metadata"),
            ("fe80::1", "link-local"),
            ("fec0::1", "site-local"),
            ("ff02::1", "multicast"),
            ("2a00:1450::5efe:10.0.0.1", "ISATAP"),
            ("2a00:1450::200:5efe:8.8.8.8", "ISATAP"),
            ("4000::1", "not a public"),
            ("8000::1", "not a public"),
        ];
        for (text, reason) in rows {
            let blocked = AddressPolicy::default().check(ip(text)).expect_err(text);
            assert!(blocked.reason.contains(reason), "{text}: {}", blocked.reason);
        }
    }

    #[test]
    fn the_public_internet_is_reached() {
        let public = [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "168.63.129.15",
            "168.63.129.17",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2606:4700:4700::1111",
            "2a00:1450:4001:80e::200e",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
        ];
        for text in public {
            assert_eq!(AddressPolicy::default().check(ip(text)), Ok(()), "{text}");
        }
    }

    #[test]
    fn an_allowed_range_exempts_itself_in_every_spelling_and_nothing_else() {
        let policy = AddressPolicy::new(
            vec!["127.0.0.0/8".parse().unwrap(), "fd12::/16".parse().unwrap()],
            vec![ip("127.0.0.1")],
        );
        for text in ["127.0.0.1", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1", "fd12::1"] {
            assert_eq!(policy.check(ip(text)), Ok(()), "{text}");
        }
        for text in ["10.0.0.1", "::1", "::127.0.0.1", "fd13::1", "169.254.169.254"] {
            assert!(policy.check(ip(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn in_clear_only_allowed_ranges_are_reached() {
        let policy = AddressPolicy::new(vec!["127.0.0.0/8".parse().unwrap()], vec![]);
        assert_eq!(policy.check_plain(ip("127.0.0.1")), Ok(()));
        assert_eq!(policy.check_plain(ip("::ffff:127.0.0.1")), Ok(()));
        assert!(policy.check_plain(ip("8.8.8.8")).is_err());
        assert!(policy.check_plain(ip("10.0.0.1")).is_err());
        assert!(AddressPolicy::default().check_plain(ip("8.8.8.8")).is_err());
    }

    #[test]
    fn the_gateway_does_not_call_itself() {
        let policy = AddressPolicy::new(vec![], vec![ip("8.8.4.4"), ip("::ffff:9.9.9.9"), ip("2a00::1")]);
        for text in ["8.8.4.4", "::ffff:8.8.4.4", "64:ff9b::8.8.4.4", "9.9.9.9", "2a00::1"] {
            assert!(policy.check(ip(text)).unwrap_err().reason.contains("itself"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_leads_to_an_ipv4_address_is_judged_as_it(bits in any::<u32>()) {
            let plain = Ipv4Addr::from_bits(bits);
            let policy = AddressPolicy::new(vec!["10.0.0.0/8".parse().unwrap()], vec![]);
            let nat64 = Ipv6Addr::from_bits(NAT64.network().to_bits() | u128::from(bits));
            let verdict = policy.check(plain.into());
            prop_assert_eq!(policy.check(plain.to_ipv6_mapped().into()), verdict);
            prop_assert_eq!(policy.check(nat64.into()), verdict);
        }

        #[test]
        fn no_tunnel_is_reached(bits in any::<u32>()) {
            let policy = AddressPolicy::default();
            let embedded = u128::from(bits);
            for prefix in ["::", "::ffff:0:0:0", "::5efe:0:0"] {
                let prefix: Ipv6Addr = prefix.parse().unwrap();
                prop_assert!(policy.check(Ipv6Addr::from_bits(prefix.to_bits() | embedded).into()).is_err());
            }
            prop_assert!(policy.check(Ipv6Addr::from_bits((0x2002 << 112) | (embedded << 80)).into()).is_err());
            prop_assert!(policy.check(Ipv6Addr::from_bits((0x2001_0000 << 96) | embedded).into()).is_err());
        }

        #[test]
        fn only_global_unicast_is_reached(bits in any::<u128>()) {
            let ip = Ipv6Addr::from_bits(bits);
            if AddressPolicy::default().check(ip.into()).is_ok() {
                prop_assert!(GLOBAL_UNICAST.contains(&ip) || ip.to_ipv4_mapped().is_some() || NAT64.contains(&ip));
            }
        }
    }
}
