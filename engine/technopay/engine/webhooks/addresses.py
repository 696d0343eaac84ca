"""Which URLs and addresses a webhook may have: those of the public internet, by https."""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Literal
from urllib.parse import urlsplit

PrivateAddresses = Literal["refuse", "allow"]

URL_LENGTH_MAX = 2_048
PRINTABLE = re.compile("[!-~]+")
LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
HOST_NAME = re.compile(rf"{LABEL}(?:\.{LABEL})*")
"""Without a point at the end: certificates and headers have none."""
HOST_LENGTH_MAX = 253
REFUSED_NETWORKS = tuple(
    ip_network(text)
    for text in (
        "64:ff9b::/96",  # NAT64: an IPv4 address in the last 32 bits
        "64:ff9b:1::/48",
        "2002::/16",  # 6to4 and Teredo tunnel to an IPv4 address, too
        "2001::/32",
        "fec0::/10",
    )
)


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address is one of the public internet."""
    if isinstance(address, IPv6Address) and (address.ipv4_mapped or address.scope_id):
        return False
    if any(address in network for network in REFUSED_NETWORKS):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def address_of(host: str) -> IPv4Address | IPv6Address | None:
    """Return the address that a host is, None for a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def url_error(url: str, private: PrivateAddresses) -> str | None:
    """Return the rule that the URL of a webhook breaks, or None. A name is resolved at each try."""
    if len(url) > URL_LENGTH_MAX:
        return f"has to have at most {URL_LENGTH_MAX} characters"
    if not PRINTABLE.fullmatch(url) or "\\" in url:
        return "has to be printable ASCII; write an international name in its xn-- form"
    schemes = ("https", "http") if private == "allow" else ("https",)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "has to be a URL like https://example.com/webhooks"
    if parts.scheme not in schemes or not host:
        return f"has to be a URL like https://example.com/webhooks, by {' or '.join(schemes)}"
    if "@" in parts.netloc:
        return "must not have a user name or password"
    if "#" in url:
        return "must not have a fragment"
    if port == 0 or parts.netloc.endswith(":"):
        return "has to have a port of 1 to 65535, or none"
    return _host_error(host, parts.netloc, private)


def _host_error(host: str, netloc: str, private: PrivateAddresses) -> str | None:
    address = address_of(host)
    if address is None:
        if len(host) > HOST_LENGTH_MAX or not HOST_NAME.fullmatch(host) or netloc.startswith("["):
            return "has to have a host name like example.com, or an IP address"
        return None if private == "allow" or not _is_local(host) else "must not be at a local name"
    if isinstance(address, IPv6Address) and address.scope_id:
        return "must not have an address with a zone"
    if private == "refuse" and not is_public(address):
        return "has to be at an address of the public internet"
    return None


def _is_local(host: str) -> bool:
    # A name of digits is an address in another notation, which resolvers accept, like 2130706433 or 0x7f.1.
    last = host.rpartition(".")[2]
    return host == "localhost" or host.endswith(".localhost") or last.isdigit() or last.startswith("0x")
