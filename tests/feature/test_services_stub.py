"""The stub of docs/examples: what it decides stays decided, and it replies as the document says."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from standardwebhooks import Webhook
from support.fixtures.services_document import assert_reply, assert_request
from support.servers.services_stub import SECRET, ServicesStub, running_stub

from technopay.engine import PaymentTerms, RefundTerms
from technopay.http.services.settlement import HttpSettlementService
from technopay.http.services.signed_requests import ServiceError

TERMS = PaymentTerms("pay_001", 1_000, "EUR", "Bookshop")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServicesStub]:
    with running_stub(tmp_path_factory.mktemp("stub")) as running:
        yield running


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


class Bank(HttpSettlementService):
    """The adapter on a stub, with payments of its own."""

    def __init__(self, session: aiohttp.ClientSession, stub: ServicesStub) -> None:
        super().__init__(session, stub.url, SECRET)


@pytest.fixture
def bank(session: aiohttp.ClientSession, shared: ServicesStub) -> Bank:
    return Bank(session, shared)


def terms_of(number: str, merchant: str = "Bookshop") -> PaymentTerms:
    return TERMS._replace(payment_id=f"pay_{number}", merchant=merchant)


async def test_a_payment_is_settled_once_and_stays_settled(bank: Bank, shared: ServicesStub) -> None:
    terms = terms_of("once")
    assert await bank.status(terms) == "not_found"
    assert await asyncio.gather(*(bank.settle(terms) for _ in range(5))) == ["settled"] * 5
    assert await bank.status(terms) == "settled"
    assert await bank.call_off(terms) == "already_settled"
    assert shared.movements()[terms.payment_id, None, 1_000] == 1


async def test_a_declined_payment_stays_declined(bank: Bank) -> None:
    terms = terms_of("declined", "Bookshop-declines")
    assert [await bank.settle(terms), await bank.status(terms)] == ["declined", "declined"]
    assert await bank.call_off(terms) == "already_declined"


async def test_a_call_off_leaves_a_tombstone_for_a_payment_never_seen(bank: Bank, shared: ServicesStub) -> None:
    terms = terms_of("called-off")
    assert [await bank.call_off(terms), await bank.call_off(terms)] == ["called_off", "called_off"]
    assert await bank.settle(terms) == "declined"
    assert await bank.status(terms) == "called_off"
    assert (terms.payment_id, None, 1_000) not in shared.movements()


async def test_each_refund_is_reversed_once_and_no_more_than_was_settled(
    bank: Bank, shared: ServicesStub
) -> None:
    terms, unsettled = terms_of("refunded"), terms_of("unsettled")
    assert await bank.reverse(unsettled, RefundTerms("ref_0", 1)) == "declined"
    await bank.settle(terms)
    for refund, state in (
        (RefundTerms("ref_1", 600), "reversed"),
        (RefundTerms("ref_1", 600), "reversed"),
        (RefundTerms("ref_2", 401), "declined"),
        (RefundTerms("ref_3", 400), "reversed"),
        (RefundTerms("ref_2", 401), "declined"),
        (RefundTerms("ref_4", 1), "declined"),
    ):
        assert await bank.reverse(terms, refund) == state
    moved = [move for move in shared.movements().elements() if move[0] == terms.payment_id]
    assert sorted(moved, key=str) == sorted(
        [("pay_refunded", None, 1_000), ("pay_refunded", "ref_1", -600), ("pay_refunded", "ref_3", -400)],
        key=str,
    )


@pytest.mark.parametrize("operation", ["settle", "status", "call_off", "reverse"])
async def test_other_terms_under_a_known_key_are_refused(bank: Bank, operation: str) -> None:
    terms = terms_of(f"terms-{operation}")
    await bank.settle(terms)
    more = [RefundTerms("ref_5", 1)] if operation == "reverse" else []
    for change in ({"amount": 999}, {"merchant": "Other"}, {"currency": "USD"}):
        with pytest.raises(ServiceError, match="409"):
            await getattr(bank, operation)(terms._replace(**change), *more)
    assert await bank.status(terms) == "settled"


async def test_it_misbehaves_by_the_merchants_name(session: aiohttp.ClientSession, bank: Bank) -> None:
    flaky, errors = terms_of("flaky", "a-flaky"), terms_of("errors", "a-errors")
    lost, twice, slow = terms_of("lost", "a-lost"), terms_of("twice", "a-twice"), terms_of("slow", "slow")
    for _ in range(2):
        with pytest.raises(ServiceError, match="503"):
            await bank.settle(flaky)
        assert await bank.status(flaky) == "not_found"
        with pytest.raises(ServiceError, match="503"):
            await bank.settle(errors)
    assert await bank.settle(flaky) == "settled"
    with pytest.raises(aiohttp.ClientError):
        await bank.settle(lost)
    assert await bank.status(lost) == "settled"
    assert await bank.settle(slow) == "settled"  # a name, not an ending
    for number in range(20):
        # The second copy of a reply can arrive as the reply to the next request: its key is another one.
        for ask, terms, state in (
            (bank.settle, twice._replace(payment_id=f"pay_twice{number}"), "settled"),
            (bank.status, terms_of(f"after{number}"), "not_found"),
        ):
            with suppress(ServiceError, aiohttp.ClientError):
                assert await ask(terms) == state


@pytest.mark.parametrize(
    ("merchant", "operations"), [("a-timeout", ["settle"]), ("a-stuck", ["settle", "status", "call_off"])]
)
async def test_it_is_silent_by_the_merchants_name(bank: Bank, merchant: str, operations: list[str]) -> None:
    terms = terms_of("silent", merchant)
    for operation in ("settle", "status", "call_off"):
        call = asyncio.wait_for(getattr(bank, operation)(terms), 0.5 if operation in operations else 10)
        if operation in operations:
            with pytest.raises(TimeoutError):
                await call
        else:
            assert await call == {"status": "not_found", "call_off": "called_off"}[operation]


Headers = dict[str, str]


def signed(
    operation: str, body: Mapping[str, Any], key: str, *, secret: str = SECRET, age_s: float = 0
) -> tuple[Headers, bytes]:
    now, text = datetime.now(UTC) - timedelta(seconds=age_s), json.dumps({"operation": operation, **body})
    headers = {
        "Idempotency-Key": key, "webhook-id": f"{key}:{operation}",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(f"{key}:{operation}", now, text),
    }  # fmt: skip
    return headers, text.encode()


async def test_its_replies_are_as_documented(session: aiohttp.ClientSession, shared: ServicesStub) -> None:
    terms = terms_of("documented")._asdict()
    message = {"event_id": "evt_1", "to": "+15550100", "kind": "payment.succeeded", "text": "Paid."}
    for operation, key, body in (
        ("status", "pay_documented", terms), ("settle", "pay_documented", terms),
        ("call_off", "pay_documented", terms),
        ("reverse", "ref_d", terms | {"refund": {"id": "ref_d", "amount": 5}}),
        ("deliver", "evt_1", message), ("deliver", "evt_1", message),
    ):  # fmt: skip
        headers, raw = signed(operation, body, key)
        assert_request(f"/{operation}", headers, json.loads(raw))
        async with session.post(f"{shared.url}/{operation}", data=raw, headers=headers) as response:
            assert response.status == 200
            assert_reply(f"/{operation}", await response.json())
    assert shared.read("SELECT * FROM messages") == [("evt_1", "+15550100", "Paid.")]


async def test_a_request_that_is_not_ours_changes_nothing(
    session: aiohttp.ClientSession, shared: ServicesStub
) -> None:
    terms = terms_of("forged")
    other_secret = f"whsec_{'QUJD' * 10}"
    headers, raw = signed("settle", terms._asdict(), terms.payment_id)
    forged: list[tuple[int, str, Headers, bytes]] = [
        (401, "settle", {}, raw),
        (401, "settle", headers, raw.replace(b"1000", b"1001")),
        (401, "settle", {**headers, "webhook-id": "pay_other:settle"}, raw),
        (401, "settle", {**headers, "webhook-timestamp": "now"}, raw),
        (401, "settle", {**headers, "webhook-signature": "v1"}, raw),
        (401, "settle", {**headers, "webhook-signature": "v1,!"}, raw),
        (401, "settle", *signed("settle", terms._asdict(), terms.payment_id, secret=other_secret)),
        (401, "settle", *signed("settle", terms._asdict(), terms.payment_id, age_s=400)),
        (400, "call_off", headers, raw),
        (400, "settle", *signed("settle", terms._asdict(), "pay_other")),
        (404, "pay", headers, raw),
    ]
    for status, path, sent, body in forged:
        async with session.post(f"{shared.url}/{path}", data=body, headers=sent) as response:
            assert response.status == status, (path, sent)
    assert terms.payment_id not in shared.states()


async def test_its_book_survives_a_kill(tmp_path: Path) -> None:
    with running_stub(tmp_path) as stub:
        async with aiohttp.ClientSession() as session:
            assert await Bank(session, stub).settle(terms_of("1")) == "settled"
            assert await Bank(session, stub).call_off(terms_of("2")) == "called_off"
        stub.end()
        stub.start()
        async with aiohttp.ClientSession() as session:
            assert await Bank(session, stub).settle(terms_of("1")) == "settled"
            assert await Bank(session, stub).settle(terms_of("2")) == "declined"
        assert stub.movements().total() == 1
