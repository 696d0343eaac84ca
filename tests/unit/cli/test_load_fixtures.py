"""The fixtures of a load test, servers without them, and the inbox of a virtual user."""

import asyncio
import itertools
from typing import Any

import pytest
from support.fixtures.load import NOW, QUICK, ScriptedClient, fake_server, leaping, limit_json

from technopay.cli.load import fixtures as fixtures_module
from technopay.cli.load.acknowledgements import Acknowledgements
from technopay.cli.load.fixtures import CODE_WAIT_S, CURRENCY, INBOX_LENGTH_MAX, SHOPS, Inbox, Setup
from technopay.cli.load.plan import LoadError
from technopay.cli.load.recorder import Recorder
from technopay.cli.load.timed_client import Reply, TimedClient

USER = {"id": "load-clock", "status": "active", "email": None, "phone": None, "created_at": NOW}
WALLET = {
    "id": "wal_1", "user_id": "load", "currency": CURRENCY, "balance": 0, "status": "active", "created_at": NOW
}  # fmt: skip
NO_LIMITS = {"data": [], "has_more": False, "next_cursor": None}
SOUND: dict[str, list[Any]] = {
    "/mock/token": [(200, {"token": "t"})],
    "/v1/admin/limits": [(200, NO_LIMITS)],
    "/v1/admin/limits/FKP": [(200, limit_json(used=7))],
    "/v1/admin/users": [(201, USER)],
    "/v1/admin/wallets": [(201, WALLET)],
    "/v1/admin/wallets/wal_1/deposit": [(200, WALLET)],
}


BUSY = Reply(503, "overloaded", {"code": "overloaded"})


def problem(code: str, detail: str) -> dict[str, Any]:
    return {"type": f"urn:technopay:problem:{code}", "code": code, "detail": detail, "request_id": "req_1"}


async def make(monkeypatch: pytest.MonkeyPatch, changes: dict[str, list[Any]], made: list[int]) -> Any:
    monkeypatch.setattr(fixtures_module, "PATIENCE", QUICK)
    async with fake_server() as (server, session):
        server.answers = {path: list(answers) for path, answers in (SOUND | changes).items()}
        try:
            timed = TimedClient(session, Recorder(), Acknowledgements())
            return await Setup(session, server.url, timed).make(None, 3, made.append)
        except LoadError:
            # There is no user to block.
            assert not any(path.endswith("/block") for path in server.asked)
            raise


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"/mock/token": [(404, {"code": "not_found"})]}, "start it with --demo"),
        ({"/mock/token": [(200, "<html>")]}, "--url is not the address of a technopay server"),
        ({"/v1/admin/limits": [(403, problem("forbidden", "Not for you."))]},
            "the set-up failed: forbidden: Not for you."),
        ({"/v1/admin/limits": [(200, {})]}, "--url is not the address of a technopay server"),
        ({"/v1/admin/users": [(201, USER), (201, USER), (503, problem("overloaded", "Try again."))]},
            "the set-up failed: overloaded: Try again."),
    ],
)  # fmt: skip
async def test_a_server_with_which_there_is_no_load_test_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, list[Any]], why: str
) -> None:
    with pytest.raises(LoadError) as refused:
        await make(monkeypatch, changes, [])

    assert why in str(refused.value)


async def test_one_user_is_poor_and_one_is_blocked(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    monkeypatch.setattr("technopay.cli.load.fixtures.secrets.token_hex", lambda _: "run")

    fixtures = await make(monkeypatch, {"/v1/admin/users/load-run-4/block": [(200, USER)]}, made)

    assert [len(group) for group in (fixtures.users, fixtures.poor, fixtures.blocked)] == [3, 1, 1]
    assert made == [1, 2, 3, 4, 5]
    assert (len({id(next(fixtures.shops)) for _ in range(99)}), fixtures.limit_before.used) == (SHOPS, 7)
    assert fixtures.poor[0].deposited < fixtures.users[0].deposited
    assert fixtures.ahead.total_seconds() != 0


def inbox(*messages: dict[str, Any]) -> Reply:
    return Reply(200, "ok", {"data": list(messages)})


def message(payment_id: str, code: str | None = "123456") -> dict[str, Any]:
    return {"payment_id": payment_id, "kind": "confirmation.code", **({"code": code} if code else {})}


def client_with(*answers: Reply) -> ScriptedClient:
    """Make a client with these replies in order; the last one is repeated."""
    client = ScriptedClient(lambda _: answers[min(len(client.asked), len(answers)) - 1])
    return client


async def is_test_alone() -> bool:
    await asyncio.sleep(0)
    return asyncio.all_tasks() == {asyncio.current_task()}


@leaping
async def test_one_reader_reads_for_all_purchases() -> None:
    client = client_with(inbox(*(message(f"pay_{number}", f"{number}") for number in range(50))))
    reader = Inbox(client, "alice")

    codes = await asyncio.gather(*(reader.read_code(f"pay_{number}") for number in range(50)))

    assert codes == [str(number) for number in range(50)]
    assert client.asked == ["/mock/inbox/alice?limit=100"], "twice as many as wait"
    assert await is_test_alone()


@leaping
async def test_each_read_without_the_code_goes_further_back_and_a_busy_server_is_asked_again() -> None:
    client = client_with(
        inbox(message("pay_2")), BUSY, inbox(message("pay_1", None)), inbox(), inbox(message("pay_1"))
    )

    assert await Inbox(client, "alice").read_code("pay_1") == "123456"

    assert [path.partition("limit=")[2] for path in client.asked] == ["3", "6", "12", "24", "48"]


@leaping
async def test_the_wait_for_a_missing_code_is_bounded() -> None:
    client = client_with(inbox())
    began_s = asyncio.get_running_loop().time()

    assert await Inbox(client, "alice").read_code("pay_1") is None

    assert asyncio.get_running_loop().time() - began_s == pytest.approx(CODE_WAIT_S)
    assert client.asked[-1].endswith(f"limit={INBOX_LENGTH_MAX}")
    assert len(client.asked) < 60
    assert await is_test_alone()


@leaping
async def test_the_reader_ends_with_the_last_purchase_and_starts_again_for_a_later_one() -> None:
    client = client_with(inbox(message("pay_1"), message("pay_2")))
    reader = Inbox(client, "alice")
    waiting = [asyncio.create_task(reader.read_code(f"pay_{number}")) for number in (3, 4)]
    await asyncio.sleep(1)

    waiting[0].cancel()
    assert not await is_test_alone()
    waiting[1].cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert await is_test_alone()

    client.asked.clear()
    assert [await reader.read_code(each) for each in ("pay_1", "pay_2")] == ["123456"] * 2
    assert len(client.asked) == 2


@leaping
async def test_an_unreadable_inbox_fails_all_purchases_at_once() -> None:
    reader = Inbox(
        client_with(Reply(200, "ok", {"data": [{"text": "hello"}]}), inbox(message("pay_1"))), "alice"
    )

    failed = await asyncio.gather(*map(reader.read_code, ("pay_1", "pay_2")), return_exceptions=True)

    assert [repr(each) for each in failed] == ["KeyError('payment_id')"] * 2
    assert await is_test_alone()
    assert await reader.read_code("pay_1") == "123456"


@leaping
async def test_a_missed_code_is_found_while_every_read_finds_another_one() -> None:
    buried = [message("pay_late")]

    def answer(path: str) -> Reply:
        # Each read finds one code, and the missed one moves further back.
        buried[:0] = [message(f"pay_{len(client.asked)}"), *[message("nobody")] * 4]
        return inbox(*buried[: int(path.partition("limit=")[2])])

    async def read_one_after_another() -> None:
        for number in itertools.count(1):
            await reader.read_code(f"pay_{number}")

    client = ScriptedClient(answer)
    reader = Inbox(client, "alice")
    others = asyncio.create_task(read_one_after_another())

    async with asyncio.timeout(1.0):
        assert await reader.read_code("pay_late") == "123456"
    others.cancel()
