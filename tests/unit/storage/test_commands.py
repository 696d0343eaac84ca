"""The commands of wallets: what each becomes as arguments of its script, and how its outcome is heard."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, get_args

import pytest
from support.scene import ALONE, DAY_MS, RIGHT, WRONG, Scene, operation, unrecorded

from technopay.engine import commands
from technopay.engine.commands import Command
from technopay.engine.errors import Fault, InternalError, OutcomeUnknown, StoreUnavailable
from technopay.engine.values import Evidence, Lease, Operation
from technopay.storage import RedisStore
from technopay.storage.commands import CALLS, DATED
from technopay.storage.scripts.loader import Script, load_scripts
from technopay.storage.server.client import Argument, OnResult

COMMANDS = get_args(Command)
OPERATION = Operation("the operation's id", "the fingerprint", 777)
FIELDS = {
    "payment": "payment_id", "user": "user_id", "wallet": "wallet_id", "invoice": "invoice_id",
    "lifetime_ms": "code_lifetime_ms", "refund": "refund_id",
}  # fmt: skip
"""The fields of commands that go by another name in scripts."""


class Pipe:
    """A client that keeps what is sent, and answers it when a test says so."""

    def __init__(self) -> None:
        self.sent: list[tuple[Script, tuple[Argument, ...], OnResult]] = []

    def send(
        self, script: Script, keys: Sequence[str], arguments: Sequence[Argument], on_result: OnResult
    ) -> None:
        assert keys == ("{tp:00}:journal",)
        self.sent.append((script, tuple(arguments), on_result))

    def send_command(self, words: Sequence[Argument], on_result: OnResult) -> None:
        raise AssertionError(f"no script: {words}")

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


MADE = {"operation": OPERATION, "evidence": Evidence("the key_id", "the versions", "the digests")}


def make(kind: Any) -> Command[Any]:
    """Make a command in which every field has a value of its own."""
    values = {name: f"the {name}" for name in kind._fields}
    command: Command[Any] = kind(**(values | {name: made for name, made in MADE.items() if name in values}))
    return command


def expected(command: Command[Any], lease: Lease, argument: str, days: str) -> object:
    """Answer what a script has to get under an argument's name."""
    named = {
        "operation": OPERATION.id, "fingerprint": OPERATION.fingerprint, "kept_ms": OPERATION.kept_ms,
        "owner": lease.owner, "token": lease.token, "keep_it": "1" if lease.keep else "0", "days": days,
    }  # fmt: skip
    if argument in named:
        return named[argument]
    holder = getattr(command, "evidence", command) if argument in Evidence._fields else command
    return getattr(holder, FIELDS.get(argument, argument))


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("kind", COMMANDS)
def test_each_field_of_a_command_reaches_the_argument_of_its_name(
    piped: RedisStore, pipe: Pipe, kind: type, keep: bool
) -> None:
    command, lease = make(kind), Lease("the owner", "the token", keep)
    piped.send(command, lease, lambda _: None)
    ((script, arguments, _),) = pipe.sent
    days = piped._calendar.days(0)
    assert dict(zip(script.arguments, arguments, strict=True)) == {
        argument: expected(command, lease, argument, days) for argument in script.arguments
    }
    said = set(command._fields) - MADE.keys()
    assert said <= {FIELDS.get(argument, argument) for argument in script.arguments}


def test_every_command_has_a_script_of_its_own() -> None:
    assert set(CALLS) == set(COMMANDS)
    names = [name for name, _, _ in CALLS.values()]
    assert len(set(names)) == len(names)


def test_the_days_go_to_the_scripts_that_ask_for_them() -> None:
    scripts = load_scripts()
    assert {kind for kind, (name, _, _) in CALLS.items() if scripts[name].arguments[-1] == "days"} == DATED
    assert not [name for name, _, _ in CALLS.values() if "days" in scripts[name].arguments[:-1]]


def test_the_days_are_those_around_the_stores_clock_as_it_was_heard_last(piped: RedisStore, pipe: Pipe) -> None:
    for at_ms in (1_783_252_800_000, 1_783_339_200_000):
        pipe.sent.clear()
        piped.send(make(commands.Deposit), ALONE, lambda _: None)
        pipe.sent[0][2](["ok", str(at_ms), "", []])
        piped.send(make(commands.ConfirmPayment), ALONE, lambda _: None)
        assert pipe.sent[1][1][-1] == piped._calendar.days(at_ms)


def test_an_answer_given_again_does_not_turn_the_days_back(piped: RedisStore, pipe: Pipe) -> None:
    now_ms = 1_783_252_800_000
    for code, at_ms in (("ok", now_ms), ("replayed", now_ms - 3 * DAY_MS)):
        piped.send(make(commands.Deposit), ALONE, lambda _: None)
        pipe.sent[-1][2]([code, str(at_ms), "", []])
    piped.send(make(commands.ConfirmPayment), ALONE, lambda _: None)
    assert pipe.sent[-1][1][-1] == piped._calendar.days(now_ms)


async def test_a_command_out_of_bounds_is_run_again_with_the_days_around_the_stores_clock(
    piped: RedisStore, pipe: Pipe
) -> None:
    running = asyncio.create_task(piped.run(make(commands.ConfirmPayment), ALONE))
    await asyncio.sleep(0)
    pipe.sent[0][2](["bounds", "1783252800000", ""])
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert pipe.sent[1][1] == (*pipe.sent[0][1][:-1], piped._calendar.days(1_783_252_800_000))
    pipe.sent[1][2](["payment_not_found", "1783252800001", ""])
    assert (await running).code == "payment_not_found"
    assert len(pipe.sent) == 2


def test_commands_reach_the_link_in_their_order_and_at_once(piped: RedisStore, pipe: Pipe) -> None:
    for kind in COMMANDS:
        piped.send(make(kind), ALONE, lambda _: None)
    assert [script.name for script, _, _ in pipe.sent] == [name for name, _, _ in CALLS.values()]


@pytest.mark.parametrize("fault", [StoreUnavailable(), OutcomeUnknown(), InternalError()])
def test_a_fault_is_heard_as_it_is(piped: RedisStore, pipe: Pipe, fault: Fault) -> None:
    heard: list[Any] = []
    piped.send(make(commands.Deposit), ALONE, heard.append)
    pipe.sent[0][2](fault)
    assert heard == [fault]


@pytest.mark.parametrize("kind", COMMANDS)
def test_an_outcome_that_cannot_be_read_is_a_defect(
    piped: RedisStore, pipe: Pipe, kind: type, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Any] = []
    piped.send(make(kind), ALONE, heard.append)
    pipe.sent[0][2](["ok", "1", "", "what is this"])
    assert [type(outcome) for outcome in heard] == [InternalError]
    assert "cannot be read" in caplog.text


async def test_a_store_that_is_not_open_is_unavailable_and_says_so_later(piped: RedisStore) -> None:
    piped._partition.client = None
    heard: list[Any] = []
    piped.send(make(commands.Deposit), ALONE, heard.append)
    assert heard == []
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [type(outcome) for outcome in heard] == [StoreUnavailable]


async def test_what_is_sent_in_one_tick_is_heard_once_each(scene: Scene) -> None:
    wallet = await scene.wallet(balance=0)
    heard: list[Any] = []
    for _ in range(5):
        scene.store.send(commands.Deposit(operation(), wallet, 1), ALONE, heard.append)
    assert heard == []
    async with asyncio.timeout(5):
        while len(heard) < 5:  # noqa: ASYNC110 - what hears is no coroutine
            await asyncio.sleep(0.001)
    await scene.store.ping()
    assert [(outcome.code, outcome.value.balance) for outcome in heard] == [("ok", at) for at in range(1, 6)]


async def test_details_have_their_types(scene: Scene) -> None:
    await scene.set_limit("EUR", 5_000)
    payment = await scene.started(await scene.wallet(), await scene.invoice(), resends=0)
    resend = commands.ResendCode(unrecorded(), payment, "alice", 2, 60_000)
    assert 0 < (await scene.store.run(resend, ALONE)).details["retry_after_s"] <= 300
    assert (await scene.confirm(payment, WRONG)).details == {"attempts_remaining": 4}
    assert (await scene.confirm(payment, RIGHT)).details == {"claim": "1"}
    assert (await scene.confirm(payment, RIGHT)).details == {"replayed": True}
