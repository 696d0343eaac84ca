"""Tokens: only those signed with one of the keys are valid, until they expire."""

import base64
import hmac
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.fixtures.engine_setup import SECRET

from technopay.http.auth import tokens as module
from technopay.http.auth.tokens import Caller, TokenAuthenticator, TokenSigner
from technopay.http.problems import InvalidToken, Unauthenticated

TOKENS, SIGNER = TokenAuthenticator(SECRET), TokenSigner(SECRET)
PREVIOUS = "the secret of before, and of before alone"
RSA = rsa.generate_private_key(65_537, 2_048)
CURVE = ec.generate_private_key(ec.SECP256R1())


def signed(key: Any = SECRET, algorithm: str = "HS256", **changes: Any) -> str:
    """Sign valid claims with some changes; None removes one."""
    claims = {"sub": "alice", "scope": "payments", "exp": 4_000_000_000, **changes}
    kept = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(kept, key, algorithm=algorithm)


def refused(tokens: TokenAuthenticator, token: str) -> str:
    """Return the problem of a refused token."""
    with pytest.raises(InvalidToken) as refusal:
        tokens.caller_of(f"Bearer {token}")
    return str(refusal.value)


@pytest.mark.parametrize(("admin", "scopes"), [(False, {"payments"}), (True, {"payments", "admin"})])
def test_a_signed_token_names_its_user_its_scopes_and_its_end(admin: bool, scopes: set[str]) -> None:
    token = SIGNER.sign("alice", admin=admin, lifetime_s=60)
    claims = jwt.decode(token, SECRET, algorithms=["HS256"])

    assert set(claims) == {"sub", "scope", "iat", "exp"}
    assert claims["exp"] - claims["iat"] == 60
    assert abs(claims["iat"] - time.time()) < 5
    for _ in range(2):
        caller = TOKENS.caller_of(f"Bearer {token}")
        assert caller == Caller("alice", frozenset(scopes))
        assert caller.expires_at == claims["exp"]


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic x", "Bearerx"])
def test_without_a_token_no_error_is_named(header: str | None) -> None:
    with pytest.raises(Unauthenticated) as refusal:
        TOKENS.caller_of(header)

    assert refusal.value.challenge == 'Bearer realm="technopay"'


WRONG: dict[str, tuple[str, str]] = {
    "expired": (signed(exp=int(time.time())), "The token has expired."),
    "not yet": (signed(nbf=3_000_000_000), "The token is not valid yet."),
    "issuer": (signed(iss="another"), "The token is of another issuer."),
    "no issuer": (signed(aud="us"), "The token lacks iss."),
    "audience": (signed(iss="issuer", aud="others"), "The token is for another audience."),
    "no audience": (signed(iss="issuer"), "The token lacks aud."),
    "algorithm": (signed(SECRET * 2, "HS512"), "The token is not signed with HS256."),
    "alg none": (signed(None, "none"), "The token is not signed with HS256."),
    "key": (signed(PREVIOUS), "The token is not signed with a valid key."),
    "no exp": (signed(exp=None), "The token lacks exp."),
    "no sub": (signed(sub=None), "The token lacks sub."),
    "no words": ("\udcff\ud800", "The token cannot be read."),
    "no token": ("x.y.z", "The token cannot be read."),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_problem_of_a_token_is_named_without_the_right_value(name: str) -> None:
    token, problem = WRONG[name]
    tokens = TokenAuthenticator(SECRET, issuer="issuer", audience="us")

    assert refused(tokens, token) == problem


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_the_right_key_with_another_algorithm_is_not_right(algorithm: str) -> None:
    secret = SECRET * 2

    assert (
        refused(TokenAuthenticator(secret), signed(secret, algorithm)) == "The token is not signed with HS256."
    )


def test_the_end_is_required_even_if_all_else_is_right() -> None:
    assert refused(TOKENS, signed(exp=None)) == "The token lacks exp."


@pytest.mark.parametrize("aud", ["us", ["others", "us"]])
def test_issuer_and_audience_are_checked_where_they_are_set(aud: Any) -> None:
    tokens = TokenAuthenticator(SECRET, issuer="issuer", audience="us")

    assert tokens.caller_of(f"Bearer {signed(iss='issuer', aud=aud)}").user_id == "alice"
    assert TOKENS.caller_of(f"Bearer {signed(iss='whoever')}").user_id == "alice"
    assert refused(TOKENS, signed(aud=aud)) == "The token is for another audience."
    own = TokenSigner(SECRET, issuer="issuer", audience="us").sign("bob", admin=False, lifetime_s=60)
    assert tokens.caller_of(f"Bearer {own}").user_id == "bob"


def test_two_keys_are_valid_at_a_time_while_they_are_rotated() -> None:
    both = TokenAuthenticator(SECRET, PREVIOUS)

    for key in (SECRET, PREVIOUS):
        assert both.caller_of(f"Bearer {signed(key)}").user_id == "alice"
        assert refused(both, signed(key, exp=1)) == "The token has expired."
    assert refused(both, signed(SECRET + PREVIOUS))
    assert refused(TOKENS, signed(PREVIOUS))


@pytest.mark.parametrize(
    ("algorithm", "private", "other"), [("RS256", RSA, CURVE), ("ES256", CURVE, RSA)], ids=["RS256", "ES256"]
)
def test_a_public_key_verifies_tokens_of_its_private_key(algorithm: Any, private: Any, other: Any) -> None:
    tokens = TokenAuthenticator(private.public_key(), algorithm=algorithm)

    assert tokens.caller_of(f"Bearer {signed(private, algorithm)}").user_id == "alice"
    for token in (signed(other, "ES256" if algorithm == "RS256" else "RS256"), signed(), signed(None, "none")):
        assert refused(tokens, token) == f"The token is not signed with {algorithm}."


def test_a_public_key_is_no_secret() -> None:
    pem = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head, claims, _ = signed().split(".")
    signature = hmac.digest(pem, f"{head}.{claims}".encode(), "sha256")
    forged = f"{head}.{claims}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"

    assert refused(TokenAuthenticator(RSA.public_key(), algorithm="RS256"), forged)
    with pytest.raises(ValueError, match="a key of another algorithm"):
        TokenAuthenticator(pem.decode())


def test_scopes_may_be_many_and_unknown() -> None:
    token = signed(scope="  payments  reports ")

    assert TOKENS.caller_of(f"bearer {token}").scopes == {"payments", "reports"}


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tokens whose signatures were checked."""
    seen: list[str] = []
    decode = jwt.decode

    def seeing(token: str, *rest: Any, **named: Any) -> Any:
        seen.append(token)
        return decode(token, *rest, **named)

    monkeypatch.setattr(jwt, "decode", seeing)
    return seen


def test_a_token_is_checked_once_and_its_end_every_time(
    checked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens, token = TokenAuthenticator(SECRET), signed()
    for _ in range(3):
        assert tokens.caller_of(f"Bearer {token}").user_id == "alice"
    assert checked == [token]

    monkeypatch.setattr(time, "time", lambda: float("inf"))
    assert tokens.caller_of(f"Bearer {token}").user_id == "alice"
    assert checked == [token, token]


def test_only_valid_tokens_are_cached_in_a_bounded_number(
    checked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CACHE_MAX", 2)
    tokens = TokenAuthenticator(SECRET)
    valid = [signed(sub=f"user{number}") for number in range(3)]

    for token in (signed(PREVIOUS), *valid, valid[2], valid[1], valid[0]):
        try:
            tokens.caller_of(f"Bearer {token}")
        except InvalidToken:
            assert tokens._cache == {}
        assert len(tokens._cache) <= 2
        assert token.encode() not in tokens._cache
    assert checked[1:] == [*valid, valid[0]]


WRONG_TIMES = [
    "-1",
    "1099511627777",
    "1" + "0" * 400,
    "1e400",
    "-1e400",
    "NaN",
    "Infinity",
    "true",
    '"1"',
    "[]",
]
WRONG_CLAIMS = [
    *(("sub", value) for value in ("1", "null", '["alice"]', '"."')),
    *(("scope", value) for value in ('["admin"]', "1")),
    *((name, value) for name in ("exp", "nbf", "iat") for value in WRONG_TIMES),
]


@pytest.mark.parametrize(("name", "value"), WRONG_CLAIMS, ids=lambda value: value[:12])
def test_a_claim_of_another_type_or_out_of_bounds_makes_no_token(name: str, value: str) -> None:
    claims = {"sub": '"alice"', "exp": "1099511627776", "nbf": "0", "iat": "0"}
    assert TokenAuthenticator(SECRET).caller_of(f"Bearer {by_hand(claims)}").expires_at == 2**40
    assert refused(TokenAuthenticator(SECRET), by_hand(claims | {name: value}))


def by_hand(claims: dict[str, str]) -> str:
    """Sign claims as raw text, which may be JSON that no library would write."""
    body = "{" + ",".join(f'"{name}":{value}' for name, value in claims.items()) + "}"
    parts = [
        base64.urlsafe_b64encode(part).rstrip(b"=") for part in (b'{"alg":"HS256","typ":"JWT"}', body.encode())
    ]
    signature = hmac.digest(SECRET.encode(), b".".join(parts), "sha256")
    return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()
