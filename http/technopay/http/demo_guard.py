"""What keeps a demo to the people at its machine: pages of others are refused, by whatever name they come."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

from aiohttp import web

from technopay.http.problems import ForeignRequest

Address = IPv4Address | IPv6Address


class DemoGuard:
    """Refuses a request whose Host is not ours (DNS rebinding), or that a page of others makes.

    Ours are loopback names and addresses, and the address that is listened on; where that is every address of
    the machine, all addresses are, but no names: a page can be reached by its own name only.
    """

    def __init__(self, host: str, origins: Collection[str] = ()) -> None:
        """`host` is where the demo listens; pages of `origins` are let in."""
        self._host = host.lower()
        address = _address(self._host)
        self._is_everywhere = address is not None and address.is_unspecified
        self._origins = frozenset(origins)

    def __call__(self, request: web.Request) -> None:
        """Check a request.

        Raises:
            ForeignRequest.

        """
        hosts = [host.lower() for host in request.headers.getall("Host", [])]
        if len(hosts) != 1 or not self._is_ours(hosts[0], request):
            raise ForeignRequest
        for origin in request.headers.getall("Origin", []):
            if origin.lower() not in self._origins and origin.lower().partition("://")[2] != hosts[0]:
                raise ForeignRequest

    def _is_ours(self, host: str, request: web.Request) -> bool:
        name = _name(host)
        if name in ("localhost", self._host):
            return True
        address = _address(name)
        if address is None:
            return False
        return address.is_loopback or self._is_everywhere or address == _local_address(request)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host that is listened on."""
    address = _address(host)
    return host.lower() == "localhost" or (address is not None and address.is_loopback)


def _name(host: str) -> str:
    """Return the name or address in a Host header; '' for one that cannot be read."""
    try:
        parts = urlsplit(f"//{host}")
        # Asking for the port raises if it is no number.
        is_plain = parts.netloc == host and "@" not in host and parts.port != 0
    except ValueError:
        return ""
    return (parts.hostname or "").removesuffix(".") if is_plain else ""


def _address(name: str) -> Address | None:
    try:
        address = ip_address(name)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _local_address(request: web.Request) -> Address | None:
    """Return the address of ours that the client has reached."""
    name = request.transport and request.transport.get_extra_info("sockname")
    return _address(name[0]) if name else None
