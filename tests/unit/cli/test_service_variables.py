"""The variables of `smtp` and `http`: required, checked and named in one line each, before anything starts."""

from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
from support.servers.services_stub import SECRET

from technopay.cli import plugins as module
from technopay.cli.plugins import require_plugins, running_plugins
from technopay.cli.settings import ConfigurationError, Settings, load_settings
from technopay.engine.notifications.smtp import SmtpChannel
from technopay.http.services.settlement import HttpSettlementService
from technopay.http.services.sms import HttpSmsChannel
from technopay.storage import RedisStore

Set = Callable[..., None]

HTTP = {
    "settlement": "http", "settlement_url": "https://bank.example", "settlement_secret": SECRET,
    "sms": "HTTP", "sms_url": "http://localhost:8099/v1", "sms_secret": SECRET,
}  # fmt: skip
SMTP = {"email": "smtp", "smtp_url": "smtps://shop:hush@mail.example", "smtp_from": "Shop <pay@shop.example>"}
ALL = {**HTTP, **SMTP}


def refusal() -> list[str]:
    with pytest.raises(ConfigurationError) as refused:
        load_settings()
    return sorted(str(refused.value).split("\n"))


def test_each_service_of_ours_has_its_variables(given: Set) -> None:
    given(**ALL)

    settings = load_settings()

    assert (settings.settlement, settings.email, settings.sms) == ("http", "smtp", "http")
    assert settings.variables_of("settlement") == {"URL": "https://bank.example", "SECRET": SECRET}
    assert settings.variables_of("sms") == {"URL": "http://localhost:8099/v1", "SECRET": SECRET}
    assert settings.variables_of("email") == {
        "URL": "smtps://shop:hush@mail.example", "FROM": "Shop <pay@shop.example>",
    }  # fmt: skip
    assert "hush" not in repr(settings)
    assert SECRET not in repr(settings)


@pytest.mark.parametrize("named", [HTTP, SMTP])
def test_all_variables_are_required(given: Set, named: dict[str, str]) -> None:
    services = {name: value for name, value in named.items() if name in ("settlement", "email", "sms")}
    given(**services)

    assert refusal() == sorted(
        f"TECHNOPAY_{name.upper()}: is not set; TECHNOPAY_{service.upper()}={value.lower()} needs it"
        for service, value in services.items()
        for name in named
        if name.startswith("smtp_" if service == "email" else f"{service}_")
    )


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("settlement_url", "http://bank.example", "has to begin with https://"),
        ("settlement_url", "https://bank.example?hush=1", "has to be like https://"),
        ("settlement_secret", "hush", "has to be whsec_ and 24 to 64"),
        ("sms_url", "", "has to be like https://"),
        ("sms_secret", "hush", "has to be whsec_ and 24 to 64"),
        ("smtp_url", "smtp://mail.example?hush=no", "can have one parameter"),
        ("smtp_url", "smtp://shop:hush@mail.example?tls=none", "has to have TLS"),
        ("smtp_from", "hush", "has to be an address"),
        ("settlement_sercet", "hush", "is not a setting; the nearest one is TECHNOPAY_SETTLEMENT_SECRET"),
        ("settlement_token", "hush", "is not a setting"),
        ("smtp_host", "hush", "is not a setting"),
        ("email_url", "hush", "is for a factory, and TECHNOPAY_EMAIL names none"),
    ],
)
def test_a_wrong_variable_is_named_with_its_rule(given: Set, name: str, value: str, problem: str) -> None:
    given(**{**ALL, name: value})

    [line] = refusal()

    assert line.startswith(f"TECHNOPAY_{name.upper()}: {problem}")
    assert "hush" not in line


@pytest.mark.parametrize(
    ("service", "value"), [("settlement", "smtp"), ("email", "http"), ("verifier", "http"), ("sms", "htp")]
)
def test_a_name_is_for_its_services_only(given: Set, service: str, value: str) -> None:
    given(**{service: value})

    [line] = refusal()

    assert line.startswith(f"TECHNOPAY_{service.upper()}: has to be package.module:factory, ")


@pytest.mark.parametrize("email", [None, "mock", "mail:make"])
def test_the_variables_of_smtp_belong_to_smtp_alone(given: Set, email: str | None) -> None:
    given(smtp_url="smtp://mail.example", **({"email": email} if email else {}))

    assert refusal() == ["TECHNOPAY_SMTP_URL: is for TECHNOPAY_EMAIL=smtp"]


def test_secrets_can_be_in_files(given: Set) -> None:
    Path("signing").write_text(f"{SECRET}\n")
    Path("mail").write_text("smtps://shop:hush@mail.example\n")
    files = {"settlement_secret": "signing", "sms_secret": "signing", "smtp_url": "mail"}
    given(
        **{name: value for name, value in ALL.items() if name not in files},
        **{f"{name}_file": file for name, file in files.items()},
    )
    settings = load_settings()
    assert settings.variables_of("settlement")["SECRET"] == settings.variables_of("sms")["SECRET"] == SECRET
    assert settings.variables_of("email")["URL"] == "smtps://shop:hush@mail.example"

    given(sms_secret=SECRET)
    Path("mail").write_text("smtps://shop:hush@")
    Path("signing").unlink()
    assert [line.partition(": ")[0] for line in refusal()] == [
        "TECHNOPAY_SETTLEMENT_SECRET_FILE", "TECHNOPAY_SMS_SECRET_FILE", "TECHNOPAY_SMTP_URL",
    ]  # fmt: skip


def test_a_factory_reads_a_file_of_its_own_by_itself(given: Set) -> None:
    given(settlement="bank:make", settlement_secret_file="kept", settlement_url="anything")

    assert load_settings().variables_of("settlement") == {"SECRET_FILE": "kept", "URL": "anything"}


async def test_the_services_are_made_of_their_variables(given: Set, fake_store: RedisStore) -> None:
    given(**ALL)
    settings = load_settings()
    require_plugins(settings, demo=False)

    async with running_plugins(settings, fake_store, demo=False) as plugins:
        assert isinstance(plugins.settlement, HttpSettlementService)
        assert isinstance(plugins.channels["email"], SmtpChannel)
        assert isinstance(plugins.channels["sms"], HttpSmsChannel)


async def test_a_silent_service_leaves_connections_to_the_others(fake_store: RedisStore) -> None:
    async with module._make_session() as session:
        connector = session.connector
        assert isinstance(connector, aiohttp.TCPConnector)
        assert 0 < connector.limit_per_host < connector.limit


def test_smtp_without_its_package_is_one_line_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == "aiosmtplib" else object())
    settings = Settings(settlement="mock", email="smtp")

    with pytest.raises(ConfigurationError) as refused:
        require_plugins(settings, demo=False)

    assert str(refused.value) == "TECHNOPAY_EMAIL=smtp needs aiosmtplib: pip install 'technopay[smtp]'"
