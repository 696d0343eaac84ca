"""The forms that settings are taken in, and how wrong ones are named: all at once, without their values."""

from __future__ import annotations

import os
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from support.fixtures.engine_setup import SECRET

from technopay.cli.settings import ConfigurationError, UsageError, load_settings

OTHER = "another secret for tests; it has 44 characters"
Set = Callable[..., None]


@pytest.fixture(autouse=True)
def given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Set:
    """Set what is named, in an empty directory and an environment without settings of ours."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/alice")
    for name in os.environ:
        if name.upper().startswith("TECHNOPAY_"):
            monkeypatch.delenv(name)

    def set_them(**values: str) -> None:
        for name, value in values.items():
            monkeypatch.setenv(f"TECHNOPAY_{name.upper()}", value)

    return set_them


def refusal(**flags: Any) -> list[str]:
    with pytest.raises((ConfigurationError, UsageError)) as refused:
        load_settings(**flags)
    return sorted(str(refused.value).split("\n"))


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("code_lifetime_s", "90", 90),
        ("code_lifetime_s", "90s", 90),
        ("code_lifetime_s", "5m", 300),
        ("code_lifetime_s", " 5M ", 300),
        ("keepalive_s", "1h", 3600),
        ("durability", "EverySec", "everysec"),
        ("log_level", "WARNING", "warning"),
        ("log_format", "Json", "json"),
        ("metrics", "FALSE", False),
        ("metrics", "off", False),
        ("token_algorithm", "es256", "ES256"),
        ("timezone", "europe/BERLIN", "Europe/Berlin"),
        ("redis_url", "REDIS://h:1", "redis://h:1"),
        ("data_dir", "~/tp", Path("/home/alice/tp")),
        ("token_public_key_file", "~/keys.pem", Path("/home/alice/keys.pem")),
        ("host", "::1", "::1"),
        ("port", "0", 0),
        ("settlement", "shop.bank:make", "shop.bank:make"),
        ("settlement", "Mock", "mock"),
        ("verifier", "totp:Verifier.from_context", "totp:Verifier.from_context"),
        ("cors_origins", "https://Shop.example, http://localhost:3000/", ("https://shop.example", "http://localhost:3000")),
        ("trusted_proxies", "10.0.0.0/8, ::1", (ip_network("10.0.0.0/8"), ip_network("::1"))),
    ],
)  # fmt: skip
def test_a_setting_is_taken_in_every_form_that_is_meant(
    given: Set, name: str, text: str, value: object
) -> None:
    given(**{name: text})

    assert getattr(load_settings(), name) == value


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("code_lifetime_s", "5 minutes", "like 10s or 5m"),
        ("code_lifetime_s", "9s", "10"),
        ("code_lifetime_s", "-5m", "like 10s or 5m"),
        ("code_lifetime_s", "1e2", "like 10s or 5m"),
        ("code_lifetime_s", "٩٠", "like 10s or 5m"),
        ("keepalive_s", "0", "1"),
        ("keepalive_s", "2h", "3600"),
        ("port", "65536", "65535"),
        ("port", "http", "integer"),
        ("workers", "0", "1"),
        ("workers", "65", "64"),
        ("host", "a b", "address"),
        ("host", "http://h/", "address"),
        ("settlement", "bank", "package.module:factory"),
        ("settlement", "bank:make()", "package.module:factory"),
        ("settlement", "./bank.py:make", "package.module:factory"),
        ("email", "smtp:", "package.module:factory"),
        ("sms", ":make", "package.module:factory"),
        ("verifier", "a-b:c", "package.module:factory"),
        ("redis_url", "redis+sentinel://h:1/main", "redis+sentinel:// is not supported yet"),
        ("redis_url", "redis+cluster://h:1", "redis+cluster:// is not supported yet"),
        ("redis_url", "rediss+cluster://h:1", "rediss+cluster:// is not supported yet"),
        ("cors_origins", "*", "item 1 has to be an origin"),
        ("cors_origins", "https://a,shop.example", "item 2 has to be an origin"),
        ("cors_origins", "https://shop.example/pay", "item 1 has to be an origin"),
        ("cors_origins", "https://me@shop.example", "item 1 has to be an origin"),
        ("trusted_proxies", "10.0.0.0/8,nginx", "item 2 has to be an address or a network"),
        ("trusted_proxies", "10.0.0.1/8", "host bits"),
        ("data_dir", "~nobody-of-this-name/x", "home directory"),
        ("secret_previous", f"{SECRET[:-1]},short", "item 2 has to have at least 32 characters"),
    ],
)  # fmt: skip
def test_a_wrong_form_is_refused_by_name_and_rule(given: Set, name: str, text: str, words: str) -> None:
    given(**{name: text})

    (line,) = refusal()

    assert line.startswith(f"TECHNOPAY_{name.upper()}: ")
    assert words in line
    assert "Value error" not in line


@pytest.mark.parametrize(
    "name",
    ["secret", "data_dir", "host", "port", "redis_url", "timezone", "log_level", "metrics", "token_issuer",
     "cors_origins", "trusted_proxies", "secret_previous", "settlement", "code_lifetime_s", "secret_file"],
)  # fmt: skip
def test_an_empty_setting_is_refused_by_name(given: Set, name: str) -> None:
    for empty in ("", "  "):
        given(**{name: empty})
        assert refusal() == [f"TECHNOPAY_{name.upper()}: is empty; leave it out for the default"]


def test_an_empty_line_in_the_file_is_refused_too() -> None:
    for line in ("TECHNOPAY_DATA_DIR=", "TECHNOPAY_DATA_DIR"):
        Path(".env").write_text(line)
        assert refusal() == ["TECHNOPAY_DATA_DIR: is empty; leave it out for the default"]


@pytest.mark.parametrize(
    ("flag", "name"), [("--redis", "redis_url"), ("--data-dir", "data_dir"), ("--host", "host")]
)
def test_an_empty_flag_is_refused_by_name(flag: str, name: str) -> None:
    assert refusal(**{name: ""}) == [f"{flag} is empty; leave it out for the default"]


def test_all_wrong_settings_are_named_at_once(given: Set) -> None:
    given(port="many", secret="short", log_level="loud", timezone="", colour="red")

    assert [line.partition(":")[0] for line in refusal(host="")] == [
        "--host is empty; leave it out for the default",
        "TECHNOPAY_COLOUR", "TECHNOPAY_LOG_LEVEL", "TECHNOPAY_PORT", "TECHNOPAY_SECRET", "TECHNOPAY_TIMEZONE",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("SECRTE", "SECRET"), ("SECRET_PREVIUOS", "SECRET_PREVIOUS"), ("SECRETS_FILE", "SECRET_FILE"),
     ("TOKEN_SECRETS", "TOKEN_SECRET"), ("LOGLEVEL", "LOG_LEVEL"), ("CORS_ORIGIN", "CORS_ORIGINS")],
)  # fmt: skip
def test_a_name_that_is_not_known_is_refused_with_the_nearest_one(given: Set, name: str, nearest: str) -> None:
    given(**{name: SECRET})
    assert refusal() == [f"TECHNOPAY_{name}: is not a setting; the nearest one is TECHNOPAY_{nearest}"]


def test_a_name_that_is_not_known_is_found_in_the_file_and_in_any_case() -> None:
    Path(".env").write_text("technopay_zzz=1\n")
    assert refusal() == ["TECHNOPAY_ZZZ: is not a setting"]


def test_variables_of_kubernetes_for_a_service_of_our_name_are_ignored(given: Set) -> None:
    given(service_host="10.0.0.1", service_port="80", service_port_http="80", port="tcp://10.0.0.1:80",
          port_80_tcp="tcp://10.0.0.1:80", port_80_tcp_proto="tcp", port_80_tcp_addr="10.0.0.1")  # fmt: skip

    assert load_settings().port == 8080


def test_a_factory_owns_the_names_that_begin_with_its_own(given: Set) -> None:
    Path(".env").write_text("TECHNOPAY_SETTLEMENT_TOKEN=t\nTECHNOPAY_SETTLEMENT_URL=file\n")
    given(settlement="bank:make", settlement_url="https://bank", sms="mock")
    settings = load_settings()

    assert settings.variables_of("settlement") == {"URL": "https://bank", "TOKEN": "t"}
    assert settings.variables_of("sms") == {}
    assert "https://bank" not in repr(settings)

    given(sms_key="k", email_key="k")
    assert refusal() == [
        "TECHNOPAY_EMAIL_KEY: is for a factory, and TECHNOPAY_EMAIL names none",
        "TECHNOPAY_SMS_KEY: is for a factory, and TECHNOPAY_SMS names none",
    ]


@pytest.mark.parametrize("name", ["secret", "token_secret"])
def test_a_secret_is_read_from_a_file_without_the_new_line_at_its_end(given: Set, name: str) -> None:
    for end in ("", "\n", "\r\n"):
        Path("kept").write_bytes(f"{SECRET}{end}".encode())
        given(**{f"{name}_file": "kept"})
        assert getattr(load_settings(), name).get_secret_value() == SECRET

    Path("kept").write_text(f"{SECRET}\n\n")
    assert getattr(load_settings(), name).get_secret_value() == f"{SECRET}\n"


def test_previous_secrets_are_a_list_with_commas_or_in_a_file_with_lines(given: Set) -> None:
    given(secret_previous=f"{OTHER}, {OTHER[:-1]}")
    assert [each.get_secret_value() for each in load_settings().secret_previous] == [OTHER, OTHER[:-1]]

    Path("kept").write_text(f"{SECRET}\n{OTHER}\n")
    given(token_secret_previous_file="kept")
    assert [each.get_secret_value() for each in load_settings().token_secret_previous] == [SECRET, OTHER]


def test_a_servers_url_holds_a_password_and_is_read_from_a_file_too(given: Set) -> None:
    Path("url").write_text("redis://:sesame@h\n")
    given(redis_url_file="url")

    assert load_settings().redis_url == "redis://:sesame@h"
    assert "sesame" not in repr(load_settings())
    assert load_settings(redis_url="redis://flag").redis_url == "redis://flag"


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "kept: No such file"), (b"", "kept: is empty"), (b"\n", "kept: is empty"),
     (b"\xff" * 40, "kept: is not in UTF-8"), (b"x" * 70_000, "kept: is longer than 65536 bytes"),
     (b"short", "has to have at least 32 characters, not 5")],
)  # fmt: skip
def test_a_file_that_holds_no_secret_is_refused_by_name(given: Set, content: bytes | None, words: str) -> None:
    if content is not None:
        Path("kept").write_bytes(content)
    given(secret_file="kept")

    (line,) = refusal()

    assert line.startswith(("TECHNOPAY_SECRET_FILE: ", "TECHNOPAY_SECRET: "))
    assert words in line
    assert "short" not in line


def test_a_secret_and_its_file_exclude_each_other(given: Set) -> None:
    Path("kept").write_text(SECRET)
    Path(".env").write_text("TECHNOPAY_SECRET_FILE=kept\n")
    given(secret=SECRET)

    assert refusal() == ["TECHNOPAY_SECRET_FILE: is set, and TECHNOPAY_SECRET as well; leave one out"]
