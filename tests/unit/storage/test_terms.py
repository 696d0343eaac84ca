"""What codes are bound to: one script for all that ask in one loop tick, each with its own answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from support.scene import Scene

from technopay.engine.errors import InternalError, StoreUnavailable
from technopay.engine.ports import PaymentTerms
from technopay.storage import RedisStore, terms

Asked = list[tuple[str, ...]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Asked]:
    """Note which invoices each script was asked for."""
    calls: Asked = []
    run = RedisStore._run

    async def spy(self: RedisStore, name: str, **arguments: Any) -> Any:
        if name == "read_terms":
            calls.append(tuple(arguments["invoices"]))
        return await run(self, name, **arguments)

    monkeypatch.setattr(RedisStore, "_run", spy)
    yield calls
    assert not [size for size in map(len, calls) if size > terms.QUESTIONS_MAX]


async def test_all_that_ask_in_one_tick_are_one_script_and_each_gets_its_own_answer(
    scene: Scene, asked: Asked
) -> None:
    invoices = [await scene.invoice(amount=1 + number) for number in range(20)]
    answers = await asyncio.gather(
        *(scene.store.read_terms(f"pay_{number}", invoice, "alice") for number, invoice in enumerate(invoices))
    )
    assert answers == [PaymentTerms(f"pay_{number}", 1 + number, "EUR", "Shop") for number in range(20)]
    assert asked == [tuple(invoices)]


async def test_who_asks_later_is_answered_by_another_script(scene: Scene, asked: Asked) -> None:
    invoice = await scene.invoice()
    first = asyncio.create_task(scene.store.read_terms("pay_1", invoice, "alice"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    second = asyncio.create_task(scene.store.read_terms("pay_2", invoice, "alice"))
    assert [await first, await second] == [
        PaymentTerms("pay_1", 1_000, "EUR", "Shop"),
        PaymentTerms("pay_2", 1_000, "EUR", "Shop"),
    ]
    assert asked == [(invoice,), (invoice,)]


async def test_an_invoice_that_does_not_exist_has_no_terms(scene: Scene) -> None:
    invoice = await scene.invoice()
    names = ["inv_00none", invoice, "inv_00none"]
    answers = await asyncio.gather(*(scene.store.read_terms("pay_1", name, "alice") for name in names))
    assert answers == [None, PaymentTerms("pay_1", 1_000, "EUR", "Shop"), None]


async def test_an_invoice_of_somebody_else_has_no_terms(scene: Scene) -> None:
    invoice = await scene.invoice()
    answers = await asyncio.gather(
        *(scene.store.read_terms("pay_1", invoice, user) for user in ("bob", "alice"))
    )
    assert answers == [None, PaymentTerms("pay_1", 1_000, "EUR", "Shop")]


async def test_the_terms_are_those_of_the_payment(scene: Scene) -> None:
    invoice = await scene.invoice()
    payment_id = await scene.started(await scene.wallet(), invoice)
    parcel = await scene.store.read_parcel(payment_id)
    assert parcel is not None
    assert await scene.store.read_terms(payment_id, invoice, "alice") == parcel.terms


async def test_more_questions_than_fit_into_one_script_are_asked_in_several(
    scene: Scene, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terms, "QUESTIONS_MAX", 3)
    invoices = [await scene.invoice(amount=1 + number) for number in range(7)]
    answers = await asyncio.gather(*(scene.store.read_terms("pay_1", invoice, "alice") for invoice in invoices))
    assert [answer.amount for answer in answers if answer] == list(range(1, 8))
    assert list(map(len, asked)) == [3, 3, 1]


async def test_a_fault_reaches_everybody_who_asked(fake_store: RedisStore) -> None:
    await fake_store.aclose()
    answers = await asyncio.gather(
        *(fake_store.read_terms(f"pay_{number}", "inv_1", "alice") for number in range(3)),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers] == [StoreUnavailable] * 3


async def test_an_answer_that_cannot_be_read_reaches_everybody_who_asked(
    fake_store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run(name: str, **_: object) -> Any:
        return await RedisStore._run(fake_store, "read_meta")

    monkeypatch.setattr(fake_store, "_run", run)
    async with asyncio.timeout(5):
        answers = await asyncio.gather(
            *(fake_store.read_terms(f"pay_{number}", "inv_1", "alice") for number in range(3)),
            return_exceptions=True,
        )
    assert [type(answer) for answer in answers] == [InternalError] * 3


async def test_who_leaves_does_not_disturb_the_others(scene: Scene, asked: Asked) -> None:
    invoices = [await scene.invoice(amount=1 + number) for number in range(3)]
    tasks = [asyncio.create_task(scene.store.read_terms("pay_1", invoice, "alice")) for invoice in invoices]
    await asyncio.sleep(0)
    tasks[1].cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(answers[1], asyncio.CancelledError)
    assert [answers[0], answers[2]] == [PaymentTerms("pay_1", amount, "EUR", "Shop") for amount in (1, 3)]
    assert asked == [tuple(invoices)]


async def test_who_leaves_before_a_fault_does_not_disturb_the_others(fake_store: RedisStore) -> None:
    await fake_store.aclose()
    tasks = [asyncio.create_task(fake_store.read_terms("pay_1", "inv_1", "alice")) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(answer) for answer in answers] == [asyncio.CancelledError, *[StoreUnavailable] * 2]
