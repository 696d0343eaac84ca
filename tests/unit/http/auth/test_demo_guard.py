"""The guard of a demo: requests to its own address only, and none from pages of other origins."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp.test_utils import TestClient
from multidict import CIMultiDict
from support.fixtures.http_api import Api, OwnServer

from technopay.http.api.demo import mock_routes
from technopay.http.app import create_app
from technopay.http.auth.origins import DemoGuard
from technopay.http.auth.tokens import TokenAuthenticator, TokenSigner
from technopay.http.problems import ForeignRequest


def is_let_in(guard: DemoGuard, *headers: tuple[str, str], reached: str = "127.0.0.1") -> bool:
    transport = SimpleNamespace(get_extra_info={"sockname": (reached, 8080)}.get)
    request: Any = SimpleNamespace(headers=CIMultiDict(headers), transport=transport)
    try:
        guard(request)
    except ForeignRequest:
        return False
    return True


LOOPBACK = ["localhost", "LocalHost:8080", "localhost.", "127.0.0.1", "127.0.0.1:9", "127.8.0.1", "[::1]:8080"]
FOREIGN = [
    "evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "evil.localhost",
    "", ":8080", "localhost:port", "localhost:0", "evil.example@localhost", "localhost@evil.example",
    "localhost/..", "[::1", "::1", "2130706433", "127.1", "0", "localhost evil.example",
]  # fmt: skip


@pytest.mark.parametrize("listens", ["127.0.0.1", "::1", "localhost", "0.0.0.0", "192.0.2.1", "pay.example"])
def test_loopback_names_are_let_in_and_foreign_ones_refused_wherever_it_listens(listens: str) -> None:
    guard = DemoGuard(listens)

    assert [host for host in LOOPBACK if not is_let_in(guard, ("Host", host))] == []
    assert [host for host in FOREIGN if is_let_in(guard, ("Host", host))] == []
    assert not is_let_in(guard), "a request has one host"
    assert not is_let_in(guard, ("Host", "localhost"), ("Host", "localhost"))


@pytest.mark.parametrize(
    ("listens", "host", "reached", "expected"),
    [
        ("127.0.0.1", "192.0.2.1", "127.0.0.1", False),
        ("192.0.2.1", "192.0.2.1:8080", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", "192.0.2.1", False),
        ("0.0.0.0", "192.0.2.7", "172.17.0.2", True),
        ("0.0.0.0", "evil.example", "172.17.0.2", False),
        ("::", "[2001:db8::1]:8080", "2001:db8::1", True),
        ("::", "192.0.2.7", "::ffff:192.0.2.7", True),
        ("2001:db8::1", "[2001:DB8:0::1]", "2001:db8::1", True),
        ("Pay.example", "pay.EXAMPLE:8080", "192.0.2.1", True),
        ("pay.example", "192.0.2.1", "192.0.2.1", True),
        ("pay.example", "192.0.2.9", "192.0.2.1", False),
    ],
)
def test_the_address_that_is_listened_on_is_let_in(
    listens: str, host: str, reached: str, expected: bool
) -> None:
    assert is_let_in(DemoGuard(listens), ("Host", host), reached=reached) is expected


def test_an_origin_is_that_of_the_host_or_one_that_is_set() -> None:
    guard = DemoGuard("127.0.0.1", ["https://shop.example"])
    right = ["http://localhost:8080", "https://localhost:8080", "HTTP://LOCALHOST:8080", "https://shop.example"]
    wrong = [
        "http://localhost:3000", "http://localhost", "http://127.0.0.1:8080", "https://evil.example",
        "https://shop.example.evil.example", "null", "", "localhost:8080",
    ]  # fmt: skip

    let_in = [each for each in right + wrong if is_let_in(guard, ("Host", "localhost:8080"), ("Origin", each))]
    assert let_in == right


@pytest.mark.parametrize("path", ["/livez", "/docs", "/mock/inbox/demo-alice", "/v1/wallets", "/nowhere"])
async def test_every_address_is_guarded(api: Api, path: str) -> None:
    app = create_app(
        api.engine,
        TokenAuthenticator("a secret of this test, and of it alone"),
        more_routes=mock_routes(api.store, TokenSigner("a secret of this test, and of it alone")),
        guard=DemoGuard("127.0.0.1"),
    )
    async with TestClient(OwnServer(app)) as client:
        for header in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
            for method in ("HEAD", "OPTIONS", "POST", "PUT"):
                async with client.request(method, path, headers=header) as answer:
                    assert answer.status == 403
            async with client.get(path, headers=header) as answer:
                problem = await answer.json()
                assert (answer.status, problem["code"]) == (403, "forbidden")
                assert "demo" in problem["detail"]
        async with client.get(path) as answer:
            assert answer.status != 403
