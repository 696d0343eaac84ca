"""The address of a client, also behind trusted proxies, and never one forged by a client."""

from ipaddress import ip_network
from typing import Any
from unittest.mock import Mock

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from technopay.http.server.client_address import ClientAddress

TRUSTED = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


def sent_from(peer: object, *forwarded: str) -> Any:
    transport = Mock()
    transport.get_extra_info.side_effect = {"peername": peer}.get
    headers = [("X-Forwarded-For", each) for each in forwarded]
    return make_mocked_request("GET", "/", headers=CIMultiDict(headers), transport=transport)


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.7"], "192.0.2.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["6.6.6.6, 198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["6.6.6.6", "198.51.100.7, 10.2.3.4"], "198.51.100.7"),
        ("10.0.0.1", ["198.51.100.7,10.2.3.4,", "10.9.9.9"], "10.9.9.9"),
        ("10.0.0.1", ["10.2.3.4, 10.9.9.9"], "10.2.3.4"),
        ("10.0.0.1", ["<script>, 10.9.9.9"], "10.9.9.9"),
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7:4711"], "198.51.100.7"),
        ("10.0.0.1", ["[2001:db8::1]:443"], "2001:db8::1"),
        ("fd00::1", ["2001:db8::1"], "2001:db8::1"),
        ("::ffff:10.0.0.1", ["::ffff:198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", [", ".join(["198.51.100.7", *["10.0.0.2"] * 15])], "198.51.100.7"),
        ("10.0.0.1", [", ".join(["198.51.100.7", *["10.0.0.2"] * 700])], "10.0.0.2"),
        ("10.0.0.1", ["1" * 8_000], "10.0.0.1"),
    ],
)
def test_it_is_the_first_from_the_right_that_is_no_proxy_of_ours(
    peer: str, forwarded: list[str], client: str
) -> None:
    assert ClientAddress(TRUSTED).of(sent_from((peer, 4711), *forwarded)) == client


def test_without_trusted_proxies_it_is_the_peer() -> None:
    assert ClientAddress().of(sent_from(("10.0.0.1", 4711), "198.51.100.7")) == "10.0.0.1"


@pytest.mark.parametrize("trusted", [[], TRUSTED])
@pytest.mark.parametrize("peer", ["", None])
def test_a_unix_socket_has_none(peer: object, trusted: Any) -> None:
    assert ClientAddress(trusted).of(sent_from(peer, "198.51.100.7")) is None
