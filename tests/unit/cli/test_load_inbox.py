"""One reader of an inbox for all who wait for a code, for as long as somebody waits."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from support.fixtures.load import ScriptedClient, leap

from technopay.cli.load.fixtures import CODE_WAIT_S, INBOX_LENGTH_MAX, Inbox
from technopay.cli.load.timed_client import Reply

Message = dict[str, Any]
BUSY = Reply(503, "overloaded", {"code": "overloaded"})


def inbox(*messages: Message) -> Reply:
    return Reply(200, "ok", {"data": list(messages)})


def message(payment_id: str, code: str | None = "123456") -> Message:
    return {"payment_id": payment_id, "kind": "confirmation.code", **({"code": code} if code else {})}


async def no_reader_runs() -> bool:
    """Whether nothing runs but the test."""
    await asyncio.sleep(0)
    return asyncio.all_tasks() == {asyncio.current_task()}


def test_one_reader_reads_for_all_purchases() -> None:
    async def main() -> None:
        client = ScriptedClient(
            lambda _: inbox(*(message(f"pay_{number}", f"{number}") for number in range(50)))
        )
        reader = Inbox(client, "alice")

        codes = await asyncio.gather(*(reader.read_code(f"pay_{number}") for number in range(50)))

        assert codes == [str(number) for number in range(50)]
        assert client.asked == ["/mock/inbox/alice?limit=100"], "twice as many as wait"
        assert await no_reader_runs()

    leap(main())


def test_it_reads_further_back_after_reads_in_vain_and_a_server_that_is_busy_is_asked_again() -> None:
    async def main() -> None:
        answers = [
            inbox(message("pay_2")),
            BUSY,
            inbox(message("pay_1", None)),
            inbox(),
            inbox(message("pay_1")),
        ]
        client = ScriptedClient(lambda _: answers[min(len(client.asked), len(answers)) - 1])

        assert await Inbox(client, "alice").read_code("pay_1") == "123456"

        assert [path.partition("limit=")[2] for path in client.asked] == ["3", "6", "12", "24", "48"]

    leap(main())


def test_a_code_that_does_not_come_is_waited_for_and_given_up() -> None:
    async def main() -> None:
        client = ScriptedClient(lambda _: inbox())
        began_s = asyncio.get_running_loop().time()

        assert await Inbox(client, "alice").read_code("pay_1") is None

        assert asyncio.get_running_loop().time() - began_s == pytest.approx(CODE_WAIT_S)
        assert client.asked[-1].endswith(f"limit={INBOX_LENGTH_MAX}")
        assert len(client.asked) < 60
        assert await no_reader_runs()

    leap(main())


def test_a_later_purchase_gets_its_code_too() -> None:
    async def main() -> None:
        client = ScriptedClient(lambda _: inbox(message("pay_1"), message("pay_2")))
        reader = Inbox(client, "alice")
        impatient = asyncio.create_task(reader.read_code("pay_3"))
        await asyncio.sleep(0.01)

        impatient.cancel()
        await asyncio.sleep(0)
        assert await reader.read_code("pay_1") == "123456"
        assert await reader.read_code("pay_2") == "123456"

        assert len(client.asked) == 2

    leap(main())


def test_the_reader_ends_with_the_last_purchase() -> None:
    async def main() -> None:
        reader = Inbox(ScriptedClient(lambda _: inbox()), "alice")
        waiting = [asyncio.create_task(reader.read_code(f"pay_{number}")) for number in range(2)]
        await asyncio.sleep(1)

        waiting[0].cancel()
        await asyncio.sleep(0)
        assert not await no_reader_runs()
        waiting[1].cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

        assert await no_reader_runs()

    leap(main())


def test_an_unreadable_inbox_fails_all_purchases_at_once() -> None:
    async def main() -> None:
        answers = [Reply(200, "ok", {"data": [{"text": "hello"}]}), inbox(message("pay_1"))]
        client = ScriptedClient(lambda _: answers[len(client.asked) - 1])
        reader = Inbox(client, "alice")

        waited = await asyncio.gather(
            reader.read_code("pay_1"), reader.read_code("pay_2"), return_exceptions=True
        )

        assert [repr(each) for each in waited] == ["KeyError('payment_id')"] * 2
        assert await no_reader_runs()
        assert await reader.read_code("pay_1") == "123456"

    leap(main())


async def read_one_after_another(reader: Inbox) -> None:
    for number in itertools.count(1):
        await reader.read_code(f"pay_{number}")


def test_a_missed_code_is_found_though_others_are_found_at_every_read() -> None:
    async def main() -> None:
        buried = [message("pay_late")]

        def answer(path: str) -> Reply:
            # Each read finds somebody, and buries the one who was missed a little deeper.
            buried[:0] = [message(f"pay_{len(client.asked)}"), *[message("nobody")] * 4]
            return inbox(*buried[: int(path.partition("limit=")[2])])

        client = ScriptedClient(answer)
        reader = Inbox(client, "alice")
        others = asyncio.create_task(read_one_after_another(reader))

        async with asyncio.timeout(1.0):
            assert await reader.read_code("pay_late") == "123456"
        others.cancel()

    leap(main())
