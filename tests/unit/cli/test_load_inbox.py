"""The inbox of a virtual user: one reader for all purchases that wait for a code, while one waits."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from support.fixtures.load import ScriptedClient, leaping

from technopay.cli.load.fixtures import CODE_WAIT_S, INBOX_LENGTH_MAX, Inbox
from technopay.cli.load.timed_client import Reply

Message = dict[str, Any]
BUSY = Reply(503, "overloaded", {"code": "overloaded"})


def inbox(*messages: Message) -> Reply:
    return Reply(200, "ok", {"data": list(messages)})


def message(payment_id: str, code: str | None = "123456") -> Message:
    return {"payment_id": payment_id, "kind": "confirmation.code", **({"code": code} if code else {})}


def client_with(*answers: Reply) -> ScriptedClient:
    """Make a client that gets these replies in order, and the last one again and again."""
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
        # Each read finds one code, and buries the missed one a little deeper.
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
