//! Which IP addresses belong to somebody on the public internet. Pure: resolving names is `resolver`'s part.
//!
//! A platform's host name is data from outside: whoever controls its DNS could point it at this machine, at its
//! neighbours, or at the cloud's metadata service, and have the vault post a client secret there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where a cloud answers its guests from an address that looks public: Azure's wire server.
const AZURE_WIRE_SERVER: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

/// Where AWS answers its guests over IPv6, in the middle of the private range.
const AWS_METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254);

/// Where Google Cloud does.
const GOOGLE_METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x254);

/// Where Alibaba Cloud does, in the middle of the carrier range.
const ALIBABA_METADATA: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 200);

/// Whether an address is a public unicast one: not this machine, not its network, not a cloud's metadata service, not a
/// range kept for tests and documents, and not a way to write one of those (6to4, NAT64, Teredo, IPv4-mapped).
///
/// The ranges are IANA's special-purpose registries. Whatever IANA has not handed out (all of IPv6 but `2000::/3`) is
/// refused, so that a range added there later is closed until somebody opens it here.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

/// Whether an address is one of a private network, or of this machine: what a host that an operator has vouched for
/// may resolve to beside public ones. Metadata services and link-local addresses are never among them.
#[must_use]
pub fn is_private_network(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let carrier = within(v4, [100, 64, 0, 0], 10) && v4 != ALIBABA_METADATA;
            v4.is_private() || v4.is_loopback() || carrier
        }
        IpAddr::V6(v6) => {
            let metadata = v6 == AWS_METADATA_V6 || v6 == GOOGLE_METADATA_V6;
            v6.is_loopback() || (v6.is_unique_local() && !metadata)
        }
    }
}

/// Every block that is not public: its first address and the length of its prefix.
const CLOSED_V4: [([u8; 4], u32); 15] = [
    ([0, 0, 0, 0], 8),       // "this network", and unspecified (RFC 791)
    ([10, 0, 0, 0], 8),      // private (RFC 1918)
    ([100, 64, 0, 0], 10),   // carrier-grade NAT (RFC 6598); Alibaba's metadata
    ([127, 0, 0, 0], 8),     // loopback
    ([169, 254, 0, 0], 16),  // link-local (RFC 3927); AWS's, Google's and Azure's metadata
    ([172, 16, 0, 0], 12),   // private
    ([192, 0, 0, 0], 24),    // protocol assignments (RFC 6890); Oracle's metadata
    ([192, 0, 2, 0], 24),    // documentation (RFC 5737)
    ([192, 88, 99, 0], 24),  // 6to4 relays (RFC 7526)
    ([192, 168, 0, 0], 16),  // private
    ([198, 18, 0, 0], 15),   // benchmarking (RFC 2544)
    ([198, 51, 100, 0], 24), // documentation
    ([203, 0, 113, 0], 24),  // documentation
    ([224, 0, 0, 0], 4),     // multicast
    ([240, 0, 0, 0], 4),     // reserved, and broadcast
];

/// The blocks inside `2000::/3` that are not public.
const CLOSED_V6: [([u16; 8], u32); 4] = [
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), // protocol assignments: Teredo, benchmarking, ORCHID (RFC 2928)
    ([0x2001, 0x0db8, 0, 0, 0, 0, 0, 0], 32), // documentation (RFC 3849)
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), // 6to4: any IPv4 address, in disguise (RFC 3056)
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), // documentation (RFC 9637)
];

fn is_public_v4(address: Ipv4Addr) -> bool {
    address != AZURE_WIRE_SERVER && !CLOSED_V4.iter().any(|(block, length)| within(address, *block, *length))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let begins_with = |block: Ipv6Addr, length: u32| (address.to_bits() ^ block.to_bits()) >> (128 - length) == 0;
    begins_with(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3)
        && !CLOSED_V6.iter().any(|(block, length)| begins_with(Ipv6Addr::from(*block), *length))
}

fn within(address: Ipv4Addr, block: [u8; 4], length: u32) -> bool {
    (address.to_bits() ^ Ipv4Addr::from(block).to_bits()) >> (32 - length) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// The first and the last address of every closed block, and the neighbours just outside where those are public.
    const CLOSED: &str = "
        0.0.0.0 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.100.100.200 100.127.255.255 127.0.0.0
        127.0.0.1 127.255.255.255 168.63.129.16 169.254.0.0 169.254.169.254 169.254.170.2 169.254.255.255
        172.16.0.0 172.31.255.255 192.0.0.0 192.0.0.192 192.0.0.255 192.0.2.0 192.0.2.255 192.88.99.0
        192.88.99.255 192.168.0.0 192.168.255.255 198.18.0.0 198.19.255.255 198.51.100.0 198.51.100.255
        203.0.113.0 203.0.113.255 224.0.0.0 239.255.255.255 240.0.0.0 255.255.255.255 :: ::1 ::7f00:1
        ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::ffff:0:8.8.8.8 64:ff9b::7f00:1 64:ff9b::808:808 64:ff9b:1::1
        100::1 1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 2001:: 2001::1 2001:2::1 2001:10::1 2001:20::1
        2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff 2001:db8:: 2001:db8:ffff:ffff:ffff:ffff:ffff:ffff
        2002:7f00:1:: 2002:808:808::1 3fff::1 3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff 4000::1 5f00::1 fc00::1
        fd00:ec2::254 fd20:ce::254 fe80::1 ff02::1
    ";

    const OPEN: &str = "
        1.0.0.0 1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0
        168.63.129.15 168.63.129.17 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 191.255.255.255
        192.0.1.0 192.0.3.0 192.88.98.255 192.88.100.0 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0
        198.51.99.255 198.51.101.0 203.0.112.255 203.0.114.0 223.255.255.255 2000::1 2001:200::
        2001:4860:4860::8888 2001:db9::1 2003::1 2606:4700:4700::1111 3ffe::1 3fff:1000::1
    ";

    #[test]
    fn no_address_of_a_closed_block_is_public() {
        for text in CLOSED.split_whitespace() {
            assert!(!is_public(address(text)), "`{text}` passed for public");
        }
    }

    #[test]
    fn the_neighbours_of_the_closed_blocks_are_public() {
        for text in OPEN.split_whitespace() {
            assert!(is_public(address(text)), "`{text}` was refused");
        }
    }

    #[test]
    fn a_trusted_host_may_be_in_a_private_network_but_not_be_a_metadata_service() {
        for text in ["10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "127.0.0.1", "::1", "fd12:3456::1"] {
            assert!(is_private_network(address(text)), "`{text}` was refused");
        }
        for text in ["169.254.169.254", "100.100.100.200", "fd00:ec2::254", "fd20:ce::254", "fe80::1", "0.0.0.0", "::"]
        {
            assert!(!is_private_network(address(text)), "`{text}` passed for private");
        }
    }
}
