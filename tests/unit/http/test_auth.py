"""Tokens: what is signed is known again, and nothing else is."""

from __future__ import annotations

import time

import jwt
import pytest
from support.scenes import SECRET

from technopay.http import Caller, TokenAuthenticator, Unauthenticated

TOKENS = TokenAuthenticator(SECRET)


@pytest.mark.parametrize(("admin", "scopes"), [(False, {"payments"}), (True, {"payments", "admin"})])
def test_a_signed_token_names_its_user_and_scopes(admin: bool, scopes: set[str]) -> None:
    token = TOKENS.sign("alice", admin=admin, lifetime_s=60)

    assert TOKENS.caller_of(f"Bearer {token}") == Caller("alice", frozenset(scopes))


def test_a_token_lives_as_long_as_was_said() -> None:
    claims = jwt.decode(TOKENS.sign("alice", admin=False, lifetime_s=60), SECRET, algorithms=["HS256"])

    assert set(claims) == {"sub", "scope", "iat", "exp"}
    assert claims["exp"] - claims["iat"] == 60
    assert abs(claims["iat"] - time.time()) < 5


def test_an_expired_token_says_that_it_expired() -> None:
    token = TOKENS.sign("alice", admin=False, lifetime_s=-1)

    with pytest.raises(Unauthenticated, match="expired"):
        TOKENS.caller_of(f"Bearer {token}")


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Bearer x", "Bearer \udcff", "Basic x"])
def test_no_token_is_no_sign_in(header: str | None) -> None:
    with pytest.raises(Unauthenticated):
        TOKENS.caller_of(header)


def test_a_token_of_another_secret_is_none() -> None:
    token = TokenAuthenticator(SECRET + "!").sign("alice", admin=True, lifetime_s=60)

    with pytest.raises(Unauthenticated):
        TOKENS.caller_of(f"Bearer {token}")


def test_scopes_may_be_many_and_unknown() -> None:
    claims = {"sub": "alice", "scope": "  payments  reports ", "exp": time.time() + 60}
    token = jwt.encode(claims, SECRET, algorithm="HS256")

    assert TOKENS.caller_of(f"bearer {token}").scopes == {"payments", "reports"}
