"""Commands reach their scripts: each field under the name of its argument, behind them lease and periods."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, make_dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any, get_args, get_type_hints

import pytest
from support.fixtures.store_commands import COMMANDS
from support.fixtures.store_setup import ALONE, DAY_MS, Setup, operation

from technopay.engine import commands, reads
from technopay.engine.commands import Command
from technopay.engine.errors import Fault, InternalError, OutcomeUnknown, StoreUnavailable
from technopay.engine.models import Wallet
from technopay.engine.values import Lease
from technopay.storage import RedisStore
from technopay.storage.redis_keys import Keys
from technopay.storage.scripts.binding import bind
from technopay.storage.scripts.loader import Script, load_scripts
from technopay.storage.server.client import Argument, OnResult

AT, AT_MS = datetime(2026, 7, 5, 12, 0, 0, 7_000, tzinfo=UTC), 1_783_252_800_007


class Pipe:
    """A client that keeps the sent calls, and replies when the test does."""

    def __init__(self) -> None:
        self.sent: list[tuple[Script, tuple[Argument, ...], OnResult]] = []

    def send(
        self, script: Script, keys: Sequence[str], arguments: Sequence[Argument], on_result: OnResult
    ) -> None:
        assert keys == (Keys().journal,)
        self.sent.append((script, tuple(arguments), on_result))

    def send_command(self, words: Sequence[Argument], on_result: OnResult) -> None:
        assert words[0] == "HMGET", f"no script: {words}"
        on_result([None, None])  # nothing left the store

    async def info(self) -> dict[str, str]:
        return {}

    async def aclose(self) -> None:
        pass


@pytest.fixture
def pipe() -> Pipe:
    return Pipe()


@pytest.fixture
def piped(pipe: Pipe) -> RedisStore:
    store = RedisStore.connect("redis://unused")
    store._partition.client = pipe
    return store


def make(kind: type[Command[Any]], *, optional: bool = False) -> Command[Any]:
    """Make a command with a distinct value in each field; with `optional`, None where that is allowed."""
    numbers = count(1)
    return kind(**{name: _value(name, hint, numbers, optional=optional) for name, hint in _hints(kind)})


def _hints(kind: type[Command[Any]]) -> Iterator[tuple[str, Any]]:
    hints = get_type_hints(kind)
    return ((field.name, hints[field.name]) for field in fields(kind))


def _value(name: str, hint: Any, numbers: Iterator[int], *, optional: bool) -> Any:
    if hasattr(hint, "_fields"):
        parts = get_type_hints(hint)
        return hint(*[_value(part, parts[part], numbers, optional=optional) for part in hint._fields])
    options = get_args(hint)
    if type(None) in options:
        return None if optional else _value(name, options[0], numbers, optional=optional)
    if getattr(hint, "__origin__", None) is Sequence:
        return [_value(name, options[0], numbers, optional=optional) for _ in range(3)]
    if hint is datetime:
        return AT
    if hint is bool:
        return not optional
    return next(numbers) if hint is int else f"the {name} {next(numbers)}"


def written(value: Any) -> Argument:
    """Write a value in the form for scripts."""
    if isinstance(value, list):
        return " ".join(value)
    if isinstance(value, datetime):
        return AT_MS
    if value is None:
        return ""
    return value if type(value) in (str, int) else str(int(value))


def expected(command: Command[Any]) -> dict[str, Any]:
    """Return the values of a command's fields by name; those of a NamedTuple are fields themselves."""
    named: dict[str, Any] = {}
    for field in fields(command):
        value = getattr(command, field.name)
        named |= value._asdict() if hasattr(value, "_asdict") else {field.name: value}
    return named


def periods(store: RedisStore, at_ms: int) -> tuple[str, ...]:
    return store._partition._calendar.periods(at_ms)


def by_name(script: Script, arguments: Sequence[Argument]) -> Mapping[str, Any]:
    names = script.arguments
    if not script.takes_many:
        return dict(zip(names, arguments, strict=True))
    fixed = len(names) - 1
    return dict(zip(names[:fixed], arguments[:fixed], strict=True)) | {names[-1]: arguments[fixed:]}


@pytest.mark.parametrize("optional", [True, False])
@pytest.mark.parametrize("kind", COMMANDS)
def test_each_field_of_a_command_reaches_the_argument_of_its_name(
    piped: RedisStore, pipe: Pipe, kind: type[Command[Any]], optional: bool
) -> None:
    command, lease = make(kind, optional=optional), Lease("the owner", "the token", optional)

    piped.send(command, lease, lambda _: None)

    ((script, arguments, _),) = pipe.sent
    wanted = expected(command)
    wanted.pop("partition", None)
    if script.takes_many and script.arguments[-1] != "periods":
        many = wanted.pop(script.arguments[-1])
        flat = [part for item in many for part in (item if isinstance(item, tuple) else [item])]
        wanted[script.arguments[-1]] = tuple(flat)
    wanted = {name: each if isinstance(each, tuple) else written(each) for name, each in wanted.items()}
    if "owner" in script.arguments and "owner" not in wanted:
        wanted |= {"owner": "the owner", "token": "the token", "keep": "1" if optional else "0"}
    if "periods" in script.arguments:
        wanted["periods"] = periods(piped, 0)
    assert by_name(script, arguments) == wanted


def test_lease_and_periods_come_last_in_their_order() -> None:
    for script in load_scripts().values():
        own = [name for name in script.arguments if name not in ("owner", "token", "keep", "periods")]
        assert list(script.arguments)[: len(own)] == own or script.name in ("claim_relay", "renew_claims")
        assert "periods" not in script.arguments[:-1]


@pytest.mark.parametrize(
    ("name", "names"), [("ReadWallet", ["wallet_id", "user"]), ("CreateWallet", ["wallet_id", "currency"])]
)
def test_a_command_and_its_script_that_differ_cannot_be_bound(name: str, names: list[str]) -> None:
    kind = make_dataclass(name, [(each, str) for each in names], bases=(Command[Wallet],), frozen=True)
    with pytest.raises(AssertionError):
        bind(kind, load_scripts())


def test_the_periods_are_those_around_the_last_known_time_of_the_store(piped: RedisStore, pipe: Pipe) -> None:
    now_ms = 1_783_252_800_000
    # The reply to a repeat is old: it does not turn the periods back.
    for code, at_ms in (("ok", now_ms), ("replayed", now_ms - 3 * DAY_MS), ("ok", now_ms + DAY_MS)):
        piped.send(make(commands.ChangeBalance), ALONE, lambda _: None)
        pipe.sent[-1][2]([code, str(at_ms), "", []])
        piped.send(make(commands.ConfirmPayment), ALONE, lambda _: None)
        assert pipe.sent[-1][1][-8:] == periods(piped, now_ms if code == "replayed" else at_ms)


async def test_a_command_out_of_bounds_is_run_again_with_the_periods_around_the_stores_clock(
    piped: RedisStore, pipe: Pipe
) -> None:
    running = asyncio.create_task(piped.run(make(commands.ConfirmPayment)))
    await asyncio.sleep(0)
    pipe.sent[0][2](["bounds", "1783252800000", ""])
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert pipe.sent[1][1] == (*pipe.sent[0][1][:-8], *periods(piped, 1_783_252_800_000))
    pipe.sent[1][2](["confirmation_invalid", "1783252800001", ""])
    assert (await running).code == "confirmation_invalid"
    assert len(pipe.sent) == 2


def test_commands_reach_the_client_in_their_order_and_at_once(piped: RedisStore, pipe: Pipe) -> None:
    for kind in COMMANDS:
        piped.send(make(kind), ALONE, lambda _: None)
    scripts = load_scripts()
    assert [script.name for script, _, _ in pipe.sent] == [bind(kind, scripts).script.name for kind in COMMANDS]


@pytest.mark.parametrize("fault", [StoreUnavailable(), OutcomeUnknown(), InternalError()])
def test_a_fault_is_passed_on_as_it_is(piped: RedisStore, pipe: Pipe, fault: Fault) -> None:
    results: list[Any] = []
    piped.send(make(commands.ChangeBalance), ALONE, results.append)
    pipe.sent[0][2](fault)
    assert results == [fault]


@pytest.mark.parametrize("reply", [["ok", "1", "", "what is this"], ["ok", "soon", ""], ["ok"], None])
@pytest.mark.parametrize("kind", [commands.ChangeBalance, commands.ConfirmPayment, commands.TakeDue])
def test_a_reply_that_cannot_be_read_is_a_defect(
    piped: RedisStore,
    pipe: Pipe,
    kind: type[Command[Any]],
    reply: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    results: list[Any] = []
    piped.send(make(kind), ALONE, results.append)
    pipe.sent[0][2](reply)
    assert [type(outcome) for outcome in results] == [InternalError]
    assert "cannot be read" in caplog.text


@pytest.mark.parametrize("reply", [["ok", "1", "", 5], ["ok", "soon", ""], ["ok"], None])
@pytest.mark.parametrize("kind", [reads.SearchUsers, reads.ListEntries, reads.ReadStatement])
async def test_a_reply_to_a_read_of_the_journal_that_cannot_be_read_is_a_defect(
    piped: RedisStore, pipe: Pipe, kind: type[Command[Any]], reply: Any, caplog: pytest.LogCaptureFixture
) -> None:
    running = asyncio.create_task(piped.run(make(kind)))
    await asyncio.sleep(0)
    pipe.sent[0][2](reply)
    with pytest.raises(InternalError):
        await running
    assert "cannot be read" in caplog.text


async def test_a_caller_that_left_gets_nothing(piped: RedisStore, pipe: Pipe) -> None:
    asking = asyncio.create_task(piped.run(make(reads.ReadWallet)))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait([asking])
    pipe.sent[0][2](["wallet_not_found", "1", ""])
    assert len(pipe.sent) == 1


async def test_a_store_that_is_not_open_is_unavailable_and_says_so_later(piped: RedisStore) -> None:
    piped._partition.client = None
    results: list[Any] = []
    piped.send(make(commands.ChangeBalance), ALONE, results.append)
    assert results == []
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [type(outcome) for outcome in results] == [StoreUnavailable]


async def test_commands_of_one_tick_have_one_result_each(setup: Setup) -> None:
    wallet = await setup.wallet(balance=0)
    results: list[Any] = []
    for _ in range(5):
        setup.store.send(commands.ChangeBalance(operation(), wallet, 1), ALONE, results.append)
    assert results == []
    async with asyncio.timeout(5):
        while len(results) < 5:  # noqa: ASYNC110 - the callback is no coroutine
            await asyncio.sleep(0.001)
    await setup.store.ping()
    assert [(outcome.code, outcome.value.balance) for outcome in results] == [("ok", at) for at in range(1, 6)]
