"""The address of the client, also behind proxies."""

from collections.abc import Collection
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network

from aiohttp import web

from technopay.http.requests import Address, parse_address

Network = IPv4Network | IPv6Network

HOPS_MAX = 16
"""Proxies in a row."""


class ClientAddress:
    """Finds the client's address: the peer's or, if that is a trusted proxy, the one that the proxy names.

    `X-Forwarded-For` is read from its right end, to which our proxies append: the first address that is none of
    theirs is the client's. The client itself can send anything before it.
    """

    def __init__(self, trusted: Collection[Network] = ()) -> None:
        self._trusted = tuple(trusted)
        self._is_trusted = lru_cache(maxsize=1_024)(self._look_up)

    def of(self, request: web.Request) -> str | None:
        """Return the client's address; None if there is none, as on a unix socket."""
        found = request.remote
        if not self._trusted or not found or not self._is_trusted(found):
            return found or None
        named = ",".join(request.headers.getall("X-Forwarded-For", ()))
        for hop in reversed(named.rsplit(",", HOPS_MAX)[-HOPS_MAX:]):
            address = _address(hop.strip())
            if address is None:
                break
            found = str(address)
            if not self._is_trusted(found):
                break
        return found

    def _look_up(self, text: str) -> bool:
        address = _address(text)
        return address is not None and any(address in network for network in self._trusted)


def _address(text: str) -> Address | None:
    """Parse an address, also one with a port."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    return parse_address(text)
