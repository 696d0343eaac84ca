"""The sign-in by the settings: the keys that verify and sign, and the refusal of settings that do not fit."""

import asyncio
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from multidict import CIMultiDict
from support.fixtures.engine_setup import SECRET

from technopay.cli import main
from technopay.cli.auth import make_sign_in
from technopay.cli.service import engine_settings
from technopay.cli.settings import PRINTED_SECRETS, ConfigurationError, load_settings
from technopay.engine import EngineSettings
from technopay.engine.settings import derive_key
from technopay.http.auth.tokens import Authenticator, TokenAuthenticator, TokenSigner
from technopay.http.problems import Unauthenticated

OTHER, PREVIOUS = "a secret for tokens, and for tokens alone", "the secret of before, and of before alone"
THIRD = "a third secret; it has 40 characters, too"
ROOT = Path(__file__).parents[3]
PRINTING = (
    "*.md",
    "*.yml",
    "docs/**/*.md",
    "docs/**/*.py",
    *(f"{part}/**/*.py" for part in ("cli", "engine", "http")),
)
CURVE = ec.generate_private_key(ec.SECP256R1())
PUBLIC = CURVE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

Set = Callable[..., None]


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Set:
    """Set variables of tokens, in an empty directory with a secret and a public key file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TECHNOPAY_SECRET", SECRET)
    Path("public.pem").write_bytes(PUBLIC)

    def set_them(**values: str) -> None:
        for name, value in values.items():
            monkeypatch.setenv(f"TECHNOPAY_TOKEN_{name.upper()}", value)

    return set_them


def takes(authenticator: Authenticator, key: Any, algorithm: str = "HS256", **claims: Any) -> bool:
    """Whether a token signed like this is valid."""
    token = jwt.encode({"sub": "alice", "exp": 4_000_000_000, **claims}, key, algorithm=algorithm)
    return takes_token(authenticator, token)


def takes_token(authenticator: Authenticator, token: str) -> bool:
    try:
        return authenticate(authenticator, token) == "alice"
    except Unauthenticated:
        return False


def authenticate(authenticator: Authenticator, token: str) -> str:
    request: Any = SimpleNamespace(headers=CIMultiDict(Authorization=f"Bearer {token}"))
    return asyncio.run(authenticator.authenticate(request)).user_id


def derived(secret: str) -> str:
    return derive_key(secret, "token").hex()


def test_tokens_are_signed_with_a_derived_key_unless_they_have_their_own(settings: Set) -> None:
    assert takes(make_sign_in(load_settings()).authenticator, derived(SECRET))
    assert not takes(make_sign_in(load_settings()).authenticator, SECRET), "codes are derived from it"
    assert takes(make_sign_in(load_settings(), OTHER).authenticator, derived(OTHER))

    settings(secret=OTHER)
    sign_in = make_sign_in(load_settings(), SECRET)

    assert takes(sign_in.authenticator, OTHER)
    assert not takes(sign_in.authenticator, derived(SECRET))
    token = sign_in.require_signer("a test").sign("alice", admin=False, lifetime_s=60)
    assert jwt.decode(token, OTHER, algorithms=["HS256"])


def test_no_key_of_tokens_is_a_key_of_codes() -> None:
    keys = EngineSettings(secret=SECRET)
    of_codes = {keys.derive_key(purpose).hex() for purpose in ("code", "digest", "secret id")}
    assert derived(SECRET) not in of_codes
    # A key derived from a key of tokens, as from a secret, is another key.
    assert EngineSettings(secret=derived(SECRET)).derive_key("code").hex() not in of_codes


def test_previous_secrets_verify_tokens_and_sign_none(settings: Set, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("previous").write_text(PREVIOUS)  # it has a comma in it
    Path("others").write_text(f"{OTHER}\n{THIRD}")
    settings(secret_previous_file="previous")
    monkeypatch.setenv("TECHNOPAY_SECRET_PREVIOUS_FILE", "others")
    sign_in = make_sign_in(load_settings())

    assert takes(sign_in.authenticator, PREVIOUS)
    for secret in (SECRET, OTHER, THIRD):
        assert takes(sign_in.authenticator, derived(secret))
        assert not takes(sign_in.authenticator, secret)
    token = sign_in.require_signer("a test").sign("alice", admin=False, lifetime_s=60)
    assert jwt.decode(token, derived(SECRET), algorithms=["HS256"])
    assert engine_settings(load_settings(), SECRET, demo=False).previous_secrets == (OTHER, THIRD)


WEAK = {
    "abcdefg" * 6: ".* only 7 different characters",
    **{f"{printed} \n": r": .*is an example.*token_urlsafe\(32\)" for printed in PRINTED_SECRETS},
}
WRONG_PREVIOUS = {
    SECRET: ": has to .*each secret once, and not the one of TECHNOPAY_SECRET",
    f"{PREVIOUS}\n{PREVIOUS}": ": has to .*each secret once",
    "\n".join(f"{number}{PREVIOUS}" for number in range(8)): ": has to .*at most 7 secrets",
}
NAMES = ("SECRET", "SECRET_PREVIOUS", "TOKEN_SECRET", "TOKEN_SECRET_PREVIOUS")


@pytest.mark.parametrize(
    ("name", "content", "rule"),
    [
        *((name, secret, rule) for name in NAMES for secret, rule in WEAK.items()),
        *(("SECRET_PREVIOUS", secrets, rule) for secrets, rule in WRONG_PREVIOUS.items()),
    ],
)
def test_a_weak_or_printed_secret_and_wrong_previous_ones_are_refused(
    settings: Set, monkeypatch: pytest.MonkeyPatch, name: str, content: str, rule: str
) -> None:
    # A list has commas: there, a printed example can come from a file only.
    Path("kept").write_text(content)
    if name == "SECRET":
        monkeypatch.delenv("TECHNOPAY_SECRET")
    monkeypatch.setenv(f"TECHNOPAY_{name}_FILE", "kept")
    with pytest.raises(ConfigurationError, match=rf"^TECHNOPAY_{name}{rule}"):
        load_settings()


def test_every_secret_that_a_document_or_the_product_prints_is_refused() -> None:
    files = [file for pattern in PRINTING for file in ROOT.glob(pattern) if ".venv" not in file.parts]
    printed = [
        found for file in files for found in re.findall(r'(?i)secret *[=:] *"([^"{]{32,})"', file.read_text())
    ]
    assert len(files) > 50
    assert printed
    assert set(printed) <= set(PRINTED_SECRETS)


def test_a_public_key_verifies_tokens_of_its_private_key_and_signs_none(settings: Set) -> None:
    settings(algorithm="ES256", public_key_file="public.pem", issuer="issuer", audience="us")
    sign_in = make_sign_in(load_settings())

    assert takes(sign_in.authenticator, CURVE, "ES256", iss="issuer", aud="us")
    assert not takes(sign_in.authenticator, CURVE, "ES256")
    assert not takes(sign_in.authenticator, SECRET, iss="issuer", aud="us")
    with pytest.raises(
        ConfigurationError, match=r"^this command signs tokens, .* TECHNOPAY_TOKEN_ALGORITHM has to be HS256"
    ):
        sign_in.require_signer("this command")


@pytest.mark.parametrize("algorithm", ["HS256", "ES256"])
def test_a_demo_signs_with_a_key_of_its_own_store_and_verifies_all_other_tokens(
    settings: Set, algorithm: str
) -> None:
    key: Any = derived(SECRET)
    if algorithm == "ES256":
        settings(algorithm="ES256", public_key_file="public.pem")
        key = CURVE
    sign_in = make_sign_in(load_settings())
    demo, other = sign_in.for_demo(SECRET, "store-1"), sign_in.for_demo(SECRET, "store-2")
    foreign = sign_in.for_demo("another secret" + SECRET, "store-1")

    token = demo.require_signer("a demo").sign("alice", admin=True, lifetime_s=60)
    taken = [takes_token(each.authenticator, token) for each in (demo, other, sign_in, foreign)]
    assert taken == [True, False, False, False]
    assert takes(demo.authenticator, key, algorithm)
    assert not takes(demo.authenticator, OTHER)

    expired = demo.require_signer("a demo").sign("alice", admin=False, lifetime_s=-1)
    with pytest.raises(Unauthenticated, match=r"^The token has expired\.$"):
        authenticate(demo.authenticator, expired)


WRONG: list[tuple[dict[str, str], str]] = [
    ({"algorithm": "none"}, "TOKEN_ALGORITHM"),
    ({"algorithm": "HS512"}, "TOKEN_ALGORITHM"),
    ({"secret": "short"}, "TOKEN_SECRET"),
    ({"secret_previous": "short"}, "TOKEN_SECRET_PREVIOUS"),
    ({"secret": PUBLIC.decode()}, "TOKEN_SECRET: a secret must not be a key"),
    ({"issuer": ""}, "TOKEN_ISSUER"),
    ({"audience": ""}, "TOKEN_AUDIENCE"),
    ({"public_key_file": "public.pem"}, "TOKEN_PUBLIC_KEY_FILE is set, but TECHNOPAY_TOKEN_ALGORITHM is HS256"),
    ({"algorithm": "ES256"}, "TOKEN_PUBLIC_KEY_FILE is not set"),
    ({"algorithm": "ES256", "public_key_file": "public.pem", "secret": OTHER}, "TOKEN_SECRET is set"),
    ({"algorithm": "ES256", "public_key_file": "nowhere.pem"}, "nowhere.pem: No such file"),
    ({"algorithm": "ES256", "public_key_file": "."}, "PUBLIC_KEY_FILE: .: Is a directory"),
    ({"algorithm": "RS256", "public_key_file": "public.pem"}, "public.pem: RS256 needs a public RSA key"),
]


@pytest.mark.parametrize(("values", "problem"), WRONG)
@pytest.mark.parametrize("command", [["token", "--user", "a"], ["serve", "--data-dir", "d"], ["demo"]])
def test_settings_that_do_not_fit_are_one_line_before_the_start(
    settings: Set, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    values: dict[str, str], problem: str, command: list[str],
) -> None:  # fmt: skip
    settings(**values)
    for service in ("SETTLEMENT", "EMAIL"):
        monkeypatch.setenv(f"TECHNOPAY_{service}", "mock")
    monkeypatch.setattr(sys, "argv", ["technopay", *command])

    with pytest.raises(SystemExit) as ended:
        main.run()

    output = capsys.readouterr()
    assert (ended.value.code, output.out, output.err.count("\n")) == (1, "", 1)
    assert output.err.startswith("technopay: ")
    assert problem in output.err
    assert "short" not in output.err
    assert not Path("d").exists()


def test_a_token_of_the_command_names_issuer_and_audience(
    settings: Set, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings(issuer="issuer", audience="us", secret=OTHER)
    monkeypatch.delenv("TECHNOPAY_SECRET")
    monkeypatch.setattr(sys, "argv", ["technopay", "token", "--user", "alice"])

    with pytest.raises(SystemExit):
        main.run()

    token = capsys.readouterr().out.strip()
    authenticator = TokenAuthenticator(OTHER, issuer="issuer", audience="us")
    assert authenticator.caller_of(f"Bearer {token}").user_id == "alice"
    assert isinstance(make_sign_in(load_settings()).signer, TokenSigner)
