"""Tokens over HTTP: who is not let in, and by which code."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import jwt
from support.fixtures.engine_setup import SECRET
from support.fixtures.http_api import Api


def encoded(header: Any, claims: Any, signature: bytes = b"") -> str:
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


def signed(secret: str = SECRET, algorithm: str = "HS256", **changes: Any) -> str:
    claims = {"sub": "alice", "scope": "payments admin", "exp": 4_000_000_000, **changes}
    kept = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(kept, secret, algorithm=algorithm)


CLAIMS = {"sub": "alice", "scope": "payments admin", "exp": 4_000_000_000}
TOKENS = {
    "empty": "",
    "no token": "x.y.z",
    "another key": signed("another secret, and just as long as ours"),
    "alg none": encoded({"alg": "none", "typ": "JWT"}, CLAIMS),
    "alg None": encoded({"alg": "None"}, CLAIMS),
    "another algorithm": signed("s" * 64, "HS512"),
    "our key, another algorithm": signed(SECRET * 2, "HS512"),
    "no algorithm": encoded({}, CLAIMS, b"x"),
    "expired": signed(exp=int(time.time()) - 1),
    "no expiry": signed(exp=None),
    "expiry no number": signed(exp="soon"),
    "expiry without end": signed(exp=float("inf")),
    "no subject": signed(sub=None),
    "subject no text": signed(sub="x").rpartition(".")[0] + ".x",
    "subject empty": signed(sub=""),
    "subject too long": signed(sub="x" * 129),
    "subject strange": signed(sub="a/b"),
    "subject with a newline": signed(sub="alice\n"),
    "scope no text": signed(scope=["payments", "admin"]),
    "not yet": signed(nbf=3_000_000_000),
    "deep": base64.urlsafe_b64encode(b"[" * 5_000).decode() + ".e30.x",
    "two": "x y",
}


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


async def test_a_token_without_the_scope_is_403(api: Api) -> None:
    for scope in (None, "", "admin", "PAYMENTS", "payments,admin", "payments.read"):
        headers = {"Authorization": f"Bearer {signed(scope=scope)}"}
        reply = await api.get("/v1/wallets", user=None, headers=headers)
        assert (scope, reply.status, reply.code) == (scope, 403, "forbidden")


async def test_the_scope_of_a_user_does_not_open_an_operators_routes(api: Api) -> None:
    for method, path in (
        ("GET", "/payments"),
        ("POST", "/users"),
        ("PUT", "/limits/EUR"),
        ("GET", "/users/alice"),
    ):
        (await api.call(method, f"/v1/admin{path}")).refuse(403, "forbidden")
