"""Plug-ins: imported, started and left in order, or refused in one line that names the setting."""

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from support.fixtures.engine_setup import SECRET
from support.fixtures.store_commands import read_inbox

from technopay.cli import plugins as module
from technopay.cli.plugins import require_plugins, running_plugins
from technopay.cli.service import warn
from technopay.cli.settings import ConfigurationError, Settings
from technopay.engine import FixedCode, read_mock_inbox
from technopay.engine.ports import OutgoingMessage
from technopay.engine.testing.mocks import MockChannel, MockSettlementService
from technopay.storage import RedisStore

BANK = """
class Bank:
    async def settle(self, terms): ...
    async def status(self, terms): ...
    async def call_off(self, terms): ...
    async def reverse(self, terms, refund): ...
"""
FAILS_AT_ENTERING = """
    from contextlib import asynccontextmanager
    @asynccontextmanager
    async def make(context):
        raise PermissionError("closed")
        yield
    """
FAIL_AT_START = {
    "def make(): ...": "TypeError: ",
    "def make(context): return None": "the factory returned NoneType, which has no settle, status,",
    f"{BANK}async def make(context): return Bank": "the factory returned the class Bank, not an",
    "async def make(context): raise OSError('no bank\\n today')": "OSError: no bank today",
    "def make(context): raise SystemExit('gone')": "SystemExit: gone",
    "async def make(context): yield 1": "the factory returned async_generator, which has no settle",
    "import asyncio\nasync def make(context): await asyncio.sleep(60)": "TimeoutError",
    FAILS_AT_ENTERING: "PermissionError: closed",
}
Write = Callable[[str], str]


def make_message(
    to: str = "alice@example.com", text: str = "You paid.", code: str | None = None
) -> OutgoingMessage:
    kind = "confirmation.code" if code else "payment.succeeded"
    return OutgoingMessage(
        event_id="evt_1", user_id="alice", channel="email", to=to, kind=kind, text=text, payment_id="pay_001",
        code=code, amount=1_250, currency="EUR", payee="Bookshop",
    )  # fmt: skip


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write a module into the current directory; return its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    known = set(sys.modules)

    def write_module(text: str) -> str:
        name = f"services_{len(list(tmp_path.iterdir()))}_of_a_test"
        (tmp_path / f"{name}.py").write_text(dedent(text))
        return name

    yield write_module
    for name in sys.modules.keys() - known:
        del sys.modules[name]


def make_settings(**changes: Any) -> Settings:
    return Settings(**{"secret": SECRET, "settlement": "mock", "email": "mock", **changes})


@pytest.mark.parametrize(
    ("named", "missing"),
    [
        ({}, "set TECHNOPAY_SETTLEMENT and TECHNOPAY_EMAIL or TECHNOPAY_SMS:"),
        ({"settlement": "mock"}, "set TECHNOPAY_EMAIL or TECHNOPAY_SMS:"),
        ({"email": "mock", "verifier": "mock"}, "set TECHNOPAY_SETTLEMENT:"),
    ],
)
def test_settlement_and_one_channel_are_required_outside_a_demo(named: dict[str, str], missing: str) -> None:
    settings = Settings(secret=SECRET, **named)

    with pytest.raises(ConfigurationError) as refused:
        require_plugins(settings, demo=False)

    assert str(refused.value).startswith(missing)
    assert "=package.module:factory" in str(refused.value)
    assert "\n" not in str(refused.value)
    require_plugins(settings, demo=True)
    for channel in ("email", "sms"):
        require_plugins(Settings(secret=SECRET, settlement="mock", **{channel: "mock"}), demo=False)


@pytest.mark.parametrize(
    ("text", "factory", "why"),
    [
        ("", "nowhere_at_all:make", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("", "{}:make", "AttributeError: module '{}' has no attribute 'make'"),
        ("make = 7", "{}:make", "is of type int, which cannot be called"),
        ("import nowhere_at_all", "{}:make", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("raise ValueError('no\\n way')", "{}:make", "ValueError: no way"),
        ("raise SystemExit(3)", "{}:make", "SystemExit: 3"),
        ("def make(", "{}:make", "SyntaxError: "),
        *((text, "{}:make", why) for text, why in FAIL_AT_START.items()),
    ],
)  # fmt: skip
async def test_a_factory_that_is_missing_fails_or_makes_something_else_is_one_line(
    write: Write, fake_store: RedisStore, monkeypatch: pytest.MonkeyPatch, text: str, factory: str, why: str
) -> None:
    monkeypatch.setattr(module, "START_S_MAX", 0.2)
    name = write(text)
    settings = make_settings(settlement=factory.format(name))

    is_found = False
    with pytest.raises(ConfigurationError) as refused:  # noqa: PT012 - a missing one is refused before the start
        require_plugins(settings, demo=False)
        is_found = True
        async with running_plugins(settings, fake_store, demo=False):
            pass

    assert is_found is (text in FAIL_AT_START)
    assert str(refused.value).startswith(f"TECHNOPAY_SETTLEMENT={factory.format(name)}: {why.format(name)}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "make",
    [
        "def make(context): return Bank()",
        "async def make(context): return Bank()",
        "make = lambda context: Entered()",
        "async def make(context): return Entered()",
        "@asynccontextmanager\nasync def make(context): yield Bank()",
        "class Banks:\n    make = staticmethod(lambda context: Bank())",
    ],
)
async def test_a_factory_can_return_a_service_a_coroutine_or_a_context(
    write: Write, fake_store: RedisStore, make: str
) -> None:
    name = write(
        "from contextlib import asynccontextmanager\n" + BANK + "class Entered(Bank):\n"
        "    async def __aenter__(self): return self\n"
        "    async def __aexit__(self, *_): ...\n" + make
    )
    attribute = "Banks.make" if "Banks" in make else "make"

    settings = make_settings(settlement=f"{name}:{attribute}")
    require_plugins(settings, demo=False)
    async with running_plugins(settings, fake_store, demo=False) as services:
        assert isinstance(services.settlement, sys.modules[name].Bank)


async def test_a_factory_gets_its_own_variables_a_clock_and_a_session_that_outlives_its_context(
    write: Write, fake_store: RedisStore
) -> None:
    name = write(
        "from contextlib import asynccontextmanager\n" + BANK + "seen = []\n"
        "@asynccontextmanager\nasync def make(context):\n"
        "    seen.append(context)\n    yield Bank()\n    seen.append(context.session.closed)\n"
    )
    variables = {"SETTLEMENT_URL": "https://bank.example", "SETTLEMENT_KEY": "only the bank's", "SMS_URL": "x"}
    settings = make_settings(settlement=f"{name}:make", service_variables=variables)

    async with running_plugins(settings, fake_store, demo=False):
        (context,) = sys.modules[name].seen
        assert context.variables == {"URL": "https://bank.example", "KEY": "only the bank's"}
        assert "only the bank's" not in repr(context)
        assert context.clock.monotonic() > 0
        assert context.session.timeout.total == module.REQUEST_S_MAX

    assert sys.modules[name].seen[1:] == [False]
    assert context.session.closed


async def test_a_context_that_cannot_be_left_is_logged_and_the_others_are_left(
    write: Write, fake_store: RedisStore, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEAVE_S_MAX", 0.05)
    name = write("""
        import asyncio
        from contextlib import asynccontextmanager
        left = []
        class Channel:
            async def deliver(self, message): ...
        @asynccontextmanager
        async def first(context):
            yield Channel()
            left.append("first")
        @asynccontextmanager
        async def second(context):
            yield Channel()
            await asyncio.sleep(60)
        """)

    async with running_plugins(
        make_settings(email=f"{name}:first", sms=f"{name}:second"), fake_store, demo=False
    ):
        pass

    assert sys.modules[name].left == ["first"]
    (logged,) = caplog.records
    assert logged.getMessage() == f"TECHNOPAY_SMS={name}:second: it could not be closed"


async def test_mocks_are_made_by_name_and_by_default_in_a_demo_only(fake_store: RedisStore) -> None:
    for settings, demo, channels, verifier in (
        (make_settings(sms="mock", verifier="mock"), False, {"email", "sms"}, FixedCode),
        (make_settings(), False, {"email"}, type(None)),
        (Settings(), True, {"email", "sms"}, type(None)),
    ):
        async with running_plugins(settings, fake_store, demo=demo) as services:
            assert isinstance(services.settlement, MockSettlementService)
            assert isinstance(services.verifier, verifier)
            assert services.channels.keys() == channels
            assert all(isinstance(each, MockChannel) for each in services.channels.values())


@pytest.mark.parametrize("demo", [False, True])
async def test_a_mock_channel_keeps_codes_in_a_demo_only(fake_store: RedisStore, demo: bool) -> None:
    message = make_message(text="123456 is your code", code="123456")
    async with running_plugins(make_settings(), fake_store, demo=demo) as services:
        await services.channels["email"].deliver(message)

    (kept,) = await read_inbox(fake_store, "alice", 10)
    assert ("123456" in kept) is demo
    assert (await read_mock_inbox(fake_store, "alice"))[0].message.text.endswith(" is your code")


async def test_an_address_that_begins_with_dead_takes_nothing_in_a_demo_also_by_a_real_channel(
    write: Write, fake_store: RedisStore
) -> None:
    name = write("""
        taken = []
        class Channel:
            async def deliver(self, message): taken.append(message.to)
        make = lambda context: Channel()
        """)
    settings = make_settings(email=f"{name}:make")
    async with running_plugins(settings, fake_store, demo=True) as services:
        await services.channels["email"].deliver(make_message())
        with pytest.raises(ConnectionRefusedError):
            await services.channels["email"].deliver(make_message(to="dead@example.com"))
    async with running_plugins(settings, fake_store, demo=False) as services:
        await services.channels["email"].deliver(make_message(to="dead@example.com"))

    assert sys.modules[name].taken == ["alice@example.com", "dead@example.com"]


@pytest.mark.parametrize(
    ("demo", "warnings"),
    [
        (False, [
            "TECHNOPAY_SETTLEMENT=mock: no money is settled",
            "TECHNOPAY_EMAIL=mock: no message is sent by e-mail",
            "TECHNOPAY_VERIFIER=mock: every payment is confirmed with 000000",
        ]),
        (True, ["TECHNOPAY_SMS=bank:make: the demo uses this service for real"]),
    ],
)  # fmt: skip
def test_a_named_mock_and_a_real_service_of_a_demo_are_warned_of(
    caplog: pytest.LogCaptureFixture, warnings: list[str], *, demo: bool
) -> None:
    warn(make_settings(sms="bank:make", verifier="mock"), demo=demo)

    assert caplog.record_tuples == [("technopay.cli.service", logging.WARNING, each) for each in warnings]
