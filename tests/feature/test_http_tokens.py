"""Tokens over HTTP: 401 for a token that is not valid, 403 for one without the scope."""

import time
from typing import Any

import jwt
from support.fixtures.engine_setup import SECRET
from support.fixtures.http_api import Api


def signed(secret: Any = SECRET, algorithm: str = "HS256", **changes: Any) -> str:
    claims = {"sub": "alice", "scope": "payments admin", "exp": 4_000_000_000, **changes}
    kept = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(kept, secret, algorithm=algorithm)


TOKENS = {
    "empty": "",
    "two": "x y",
    "another key": signed("another secret, and just as long as ours"),
    "no algorithm": signed(None, "none"),
    "expired": signed(exp=int(time.time()) - 1),
    "no expiry": signed(exp=None),
    "subject empty": signed(sub=""),
    "subject too long": signed(sub="x" * 129),
    "subject strange": signed(sub="a/b"),
    "subject with a newline": signed(sub="alice\n"),
}
"""One of each kind; tests/unit/http/auth/test_tokens.py has the rest."""


async def test_a_token_that_is_not_ours_or_not_whole_is_401(api: Api) -> None:
    for name, token in TOKENS.items():
        for path in ("/v1/wallets", "/v1/admin/limits"):
            reply = await api.get(path, user=None, headers={"Authorization": f"Bearer {token}"})
            assert (name, reply.status, reply.code) == (name, 401, "unauthenticated")


async def test_only_bearer_tokens_are_taken(api: Api) -> None:
    for header in (
        signed(),
        f"Basic {signed()}",
        f"Bearer{signed()}",
        f"Token {signed()}",
        "Bearer",
        "Bearer ",
    ):
        reply = await api.get("/v1/wallets", user=None, headers={"Authorization": header})
        assert (header, reply.status) == (header, 401)
    (await api.get("/v1/wallets", user=None, headers={"Authorization": f"bearer {signed()}"})).expect(200)


async def test_a_token_without_the_scope_of_a_route_is_403(api: Api) -> None:
    for scope in (None, "", "admin", "PAYMENTS", "payments,admin", "payments.read"):
        headers = {"Authorization": f"Bearer {signed(scope=scope)}"}
        reply = await api.get("/v1/wallets", user=None, headers=headers)
        assert (scope, reply.status, reply.code) == (scope, 403, "forbidden")
    for method, path in (
        ("GET", "/payments"), ("POST", "/users"), ("PUT", "/limits/EUR"), ("GET", "/users/alice"),
    ):  # fmt: skip
        (await api.call(method, f"/v1/admin{path}")).refuse(403, "forbidden")
