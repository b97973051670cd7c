"""Which IP addresses are on the public internet. Pure.

From IANA's registries of special-purpose addresses (RFC 6890 and what came after it), written out:
what the standard library calls global has changed from one Python to the next.
"""

import ipaddress
from ipaddress import IPv4Address, IPv6Address

NOT_PUBLIC_V4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",  # this host
            "10.0.0.0/8",
            "100.64.0.0/10",  # carriers' NAT; Alibaba's metadata
            "127.0.0.0/8",
            "168.63.129.16/32",  # Azure's own services, of every virtual machine
            "169.254.0.0/16",  # link-local; the clouds' metadata
            "172.16.0.0/12",
            "192.0.0.0/24",  # protocols' own; Oracle's metadata
            "192.0.2.0/24",  # documentation
            "192.31.196.0/24",  # AS112
            "192.52.193.0/24",  # multicast tunnels
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",
            "192.175.48.0/24",  # AS112
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved; broadcast
        ),
    )
)
PUBLIC_V6 = ipaddress.IPv6Network("2000::/3")  # all else is local, reserved, multicast or obsolete
NOT_PUBLIC_V6 = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "2001::/23",  # protocols' own: Teredo, benchmarks, ORCHID
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4
            "2620:4f:8000::/48",  # AS112
            "3fff::/20",  # documentation
        ),
    )
)
# Both are what an IPv4 address looks like from a network that has IPv6 only; others that hold one
# (::127.0.0.1, Teredo, 6to4, ISATAP) are out of use, and refused whatever they hold.
MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
ISATAP = (0x00005EFE, 0x02005EFE)  # the third quarter of such an address


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether it leads to the public internet and nowhere else."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in NOT_PUBLIC_V4)
    if address.scope_id is not None:
        return False
    if address in MAPPED or address in NAT64:
        return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
    if int(address) >> 32 & 0xFFFFFFFF in ISATAP:
        return False
    return address in PUBLIC_V6 and not any(address in network for network in NOT_PUBLIC_V6)
