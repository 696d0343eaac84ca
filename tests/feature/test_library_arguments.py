"""Arguments of a wrong type, for every operation and every argument: refused by name, without effect."""

import asyncio
import copy
import inspect
import logging
import math
import pickle
import typing
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any

import pytest
from support.fixtures.audit import assert_clean
from support.fixtures.dumps import dump
from support.fixtures.engine_setup import SECRET, Setup, make_setup, quick_settings
from support.fixtures.store_commands import read_journal

from technopay.engine import (
    DailyLimitExceeded,
    Engine,
    EngineClosed,
    EngineSettings,
    FieldError,
    InternalError,
    InvoiceNotFound,
    Limit,
    MessageNotFound,
    PaymentNotFound,
    RateLimited,
    ReferenceUsed,
    Refusal,
    SettlementFailed,
    SettlementRow,
    TechnopayError,
    UserNotFound,
    ValidationFailed,
    WalletNotFound,
)
from technopay.storage import RedisStore


class Number(IntEnum):
    ONE = 1


class Word(StrEnum):
    EUR = "EUR"


class Nowhere(tzinfo):
    def utcoffset(self, _: datetime | None) -> None:
        return None

    def dst(self, _: datetime | None) -> None:
        return None

    def tzname(self, _: datetime | None) -> None:
        return None


FAR = datetime(2100, 1, 1, tzinfo=UTC)
GOOD: dict[str, Any] = {
    "user_id": "alice", "email": "alice@example.com", "phone": "+15550100", "currency": "EUR", "amount": 5,
    "merchant": "bookshop", "expires_at": FAR, "description": "a book", "reference": "R-1", "outcome": "refund",
    "note": "a note", "by": "root", "status": None, "set_aside": None, "limit": 20, "cursor": "",
    "created_from": None, "created_to": None, "at_from": None, "at_to": None, "metadata": {"order": "7"},
    "code": "123456", "wait_s": 0, "method": "email", "after": None, "idempotency_key": "key",
    **{f"{kind}_id": f"{kind[:3]}_00none" for kind in ("wallet", "invoice", "payment", "message")},
    "url": "https://example.com/", "types": ["payment.started"], "overlap_s": 60, "webhook_id": "whk_00none",
    "delivery_id": "dlv_001-1", "settled_from": None, "settled_to": None,
    "rows": [SettlementRow(key="pay_00none", amount=5, currency="EUR", outcome="settled")],
}  # fmt: skip
ANYTHING: list[Any] = [
    None, True, 5, -5, 10**400, 5.5, math.nan, math.inf, -0.0, Number.ONE, Decimal(5), b"alice",
    bytearray(b"x"), "5", object(), [], {}, (), ["alice"], int, date(2100, 1, 1), FAR.replace(tzinfo=None),
    datetime.min,  # noqa: DTZ901
    FAR.replace(tzinfo=Nowhere()), datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC),
    timedelta(1), lambda: None,
]  # fmt: skip
TEXTS = [
    "", " ", "\x00", "\x1f", "a\x1fb", "\ud800", "\u202e", "x" * 100_000, "wal_00" + "x" * 60, "..", "{tp:00}",
    "nan", "123-456", "evt_00" + "9" * 18 + "-0", "e\u0301", Word.EUR,
]  # fmt: skip


def operations() -> Iterator[tuple[str, str]]:
    for name, method in inspect.getmembers(Engine, inspect.iscoroutinefunction):
        if name[0] != "_":
            for parameter in inspect.signature(method).parameters.values():
                if parameter.kind is parameter.KEYWORD_ONLY:
                    yield name, parameter.name


OPERATIONS = list(operations())


@pytest.fixture(params=[1, 4], ids=["alone", "partitioned"])
async def fake_store(request: pytest.FixtureRequest) -> AsyncIterator[RedisStore]:
    async with RedisStore.fake(partitions=request.param) as opened:
        yield opened
        await assert_clean(opened)


@pytest.fixture
async def alice(fake_store: RedisStore) -> AsyncIterator[Setup]:
    async with Engine(fake_store, quick_settings()) as engine:
        yield await make_setup(engine, fake_store)


def arguments_of(name: str) -> dict[str, Any]:
    good = GOOD | {"types": "payment.started"} if name in ("list_events", "all_events") else GOOD
    return {parameter: good[parameter] for operation, parameter in OPERATIONS if operation == name}


def takes(name: str, parameter: str) -> tuple[set[Any], bool]:
    """Return the declared types of an argument, and whether it is optional."""
    hint = typing.get_type_hints(getattr(Engine, name))[parameter]
    options = {
        typing.get_origin(each) if typing.get_origin(each) in (list, dict) else each
        for each in typing.get_args(hint) or [hint]
    }
    if typing.get_origin(hint) is typing.Literal or any(map(typing.get_args, options)):
        return {str}, type(None) in options
    return options - {type(None)}, type(None) in options


def test_every_operation_is_met() -> None:
    assert {name for name, _ in OPERATIONS} >= {
        "start_payment", "confirm_payment", "resend_code", "cancel_payment", "deposit", "create_invoice",
        "set_limit", "refund_payment", "resolve_payment", "search_payments", "list_messages", "events",
    }  # fmt: skip
    assert len(OPERATIONS) > 70


@pytest.mark.parametrize(("name", "parameter"), OPERATIONS, ids=str)
async def test_an_argument_of_a_wrong_type_is_refused_by_name_and_no_value_is_a_defect(
    alice: Setup, caplog: pytest.LogCaptureFixture, name: str, parameter: str
) -> None:
    types, optional = takes(name, parameter)

    def is_right(value: Any) -> bool:
        right = type(value) in types or (float in types and type(value) is int) or (value is None and optional)
        return right or (str in types and isinstance(value, str))

    def call_with(value: Any) -> Any:
        return getattr(alice.engine, name)(**(arguments_of(name) | {parameter: value}))

    before = (await dump(store_of(alice)))["journal"]
    for value in ANYTHING + TEXTS:
        if not is_right(value):
            with pytest.raises(ValidationFailed) as refused:
                await call_with(value)
            assert [error.field for error in refused.value.errors] == [parameter], value
    assert (await dump(store_of(alice)))["journal"] == before
    for value in ANYTHING + TEXTS:
        if is_right(value):
            await never_a_defect(call_with(value))
    assert [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR] == []


def store_of(setup: Setup) -> RedisStore:
    assert isinstance(setup.store, RedisStore)
    return setup.store


async def never_a_defect(call: Any) -> None:
    """Make a call that may be refused because of its arguments."""
    try:
        found = await call
    except Refusal:
        return
    if hasattr(found, "aclose"):
        await found.aclose()


def caller_operations() -> set[str]:
    """The operations that read or change records of `user_id`."""
    of_one_user = {"get_user", "update_user", "block_user", "unblock_user", "unlock_user"}
    return {name for name, parameter in OPERATIONS if parameter == "user_id"} - of_one_user


@pytest.mark.parametrize("name", sorted(caller_operations()))
async def test_an_empty_user_id_is_not_every_user(alice: Setup, name: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        await getattr(alice.engine, name)(**(arguments_of(name) | {"user_id": ""}))
    assert [error.field for error in refused.value.errors] == ["user_id"]


@pytest.mark.parametrize("name", ["list_entries", "get_statement", "search_payments", "list_messages"])
async def test_a_cursor_of_no_page_is_refused(alice: Setup, name: str) -> None:
    filters = {"status", "user_id", "invoice_id"} if name == "search_payments" else {"status"}
    arguments = {each: value for each, value in arguments_of(name).items() if each not in filters}
    for cursor in ("abc", "0x10", "nan", "-1", "1e3", "pay_00x", "1-1-1", "9" * 30, f"{'9' * 20}-1", "é"):
        with pytest.raises(ValidationFailed) as refused:
            await getattr(alice.engine, name)(**(arguments | {"cursor": cursor}))
        assert [error.field for error in refused.value.errors] == ["cursor"]


NO_IDS = [
    "pay_00unknown", "nonsense", "", "pay_00\n", "pay_00'; --", "ü" * 500, ".", "..", "a/b", "a b", "\ud800",
    f"msg_00{'9' * 30}-1", f"msg_001-{'9' * 30}", "msg_001-٣", "msg_001-1\n", "msg_1-1", "msg_zz1-1",
    "msg_00x", "msg_00", "msg_",
]  # fmt: skip
SUBJECTS = [
    ("find_payment", "payment_id", PaymentNotFound),
    ("get_payment", "payment_id", PaymentNotFound),
    ("refund_payment", "payment_id", PaymentNotFound),
    ("resolve_payment", "payment_id", PaymentNotFound),
    ("find_wallet", "wallet_id", WalletNotFound),
    ("find_statement", "wallet_id", WalletNotFound),
    ("deposit", "wallet_id", WalletNotFound),
    ("find_invoice", "invoice_id", InvoiceNotFound),
    ("void_invoice", "invoice_id", InvoiceNotFound),
    ("send_message_again", "message_id", MessageNotFound),
    ("get_user", "user_id", UserNotFound),
    ("block_user", "user_id", UserNotFound),
    ("unblock_user", "user_id", UserNotFound),
]


@pytest.mark.parametrize(("name", "parameter", "error"), SUBJECTS)
async def test_an_id_of_no_record_is_not_found(
    alice: Setup, name: str, parameter: str, error: type[Refusal]
) -> None:
    for unknown in NO_IDS:
        with pytest.raises(error):
            await getattr(alice.engine, name)(**(arguments_of(name) | {parameter: unknown}))


async def test_a_text_of_a_subclass_is_taken_as_a_plain_text(alice: Setup) -> None:
    wallet = await alice.engine.create_wallet(user_id="alice", currency=Word.EUR)
    assert type(wallet.currency) is str
    limit = await alice.engine.set_limit(currency=Word.EUR, amount=0)
    assert (limit.currency, limit.limit) == ("EUR", 0)
    with pytest.raises(DailyLimitExceeded):
        await alice.start()


LIMIT = Limit.trusted(
    rule="global", window="day", currency="EUR", limit=5, used=4, remaining=1, resets_at=FAR, pending=False
)
COPIES: list[Callable[[Any], Any]] = [
    copy.copy, copy.deepcopy, *(lambda error, n=n: pickle.loads(pickle.dumps(error, n)) for n in range(6)),
]  # fmt: skip


def errors() -> list[TechnopayError]:
    """Make one of each class, and some with details."""
    made: list[TechnopayError] = [
        ValidationFailed([FieldError("amount", "has to be more"), FieldError("currency", "has to be one")]),
        RateLimited(too_many="codes", retry_after_s=12.5),
        RateLimited(too_many="resends", retry_after_s=3),
        DailyLimitExceeded(limit=LIMIT, required=5, available=4),
        ReferenceUsed(invoice_id="inv_00x"),
        SettlementFailed(replayed=True),
        InternalError("a defect"),
    ]
    for cls in every_class(TechnopayError):
        if cls is not ValidationFailed:
            made.append(cls())
    made[3].request_id = "req_1"
    return made


def every_class(root: type[TechnopayError]) -> Iterator[type[TechnopayError]]:
    for cls in root.__subclasses__():
        if cls.__module__.startswith("technopay."):
            yield cls
        yield from every_class(cls)


@pytest.mark.parametrize("error", errors(), ids=lambda error: type(error).__name__)
def test_an_error_is_copied_and_pickled_with_all_that_it_tells(error: TechnopayError) -> None:
    for make_copy in COPIES:
        again = make_copy(error)
        assert type(again) is type(error)
        assert (str(again), again.args) == (str(error), error.args)
        assert vars(again) == vars(error)
        assert (again.code, again.retryable) == (error.code, error.retryable)


def test_a_store_is_not_made_of_nonsense() -> None:
    wrong_types: list[tuple[str, Any]] = [
        ("url", None), ("url", 5), ("url", b"redis://x"), ("timezone", None), ("namespace", 5),
        ("durability", "often"), ("reply_timeout_s", "2"), ("initialise", 1),
        ("wait_replicas", True), ("wait_ms", 0.5), ("partitions", "4"),
    ]  # fmt: skip
    for name, value in wrong_types:
        arguments: dict[str, Any] = {"url": "redis://localhost"} | {name: value}
        with pytest.raises(TypeError, match=f"^{name} has to be "):
            RedisStore.connect(**arguments)
    wrong_values: list[tuple[str, Any]] = [
        ("url", "http://localhost"), ("url", ""), ("timezone", "Mars/Base"), ("timezone", "../etc"),
        ("timezone", ""), ("namespace", ""), ("namespace", "a}b"), ("namespace", "a b"), ("reply_timeout_s", 0),
        ("reply_timeout_s", math.nan), ("wait_replicas", -1), ("wait_ms", 0), ("wait_ms", 10_001),
        ("partitions", 0), ("partitions", 257),
    ]  # fmt: skip
    for name, value in wrong_values:
        arguments = {"url": "redis://localhost"} | {name: value}
        with pytest.raises(ValueError, match=f"^{name} has to be"):
            RedisStore.connect(**arguments)
    for data_dir in (None, 5, b"data"):
        with pytest.raises(TypeError):
            RedisStore.embedded(data_dir)  # type: ignore[arg-type]


def test_an_engine_is_not_made_of_nonsense() -> None:
    wrong: list[tuple[Any, Any]] = [
        (None, EngineSettings(secret=SECRET)), (RedisStore.fake(), None),
        (RedisStore.fake(), {"secret": SECRET}),
    ]  # fmt: skip
    for store, settings in wrong:
        with pytest.raises(TypeError, match="takes a store and EngineSettings"):
            Engine(store, settings)


def test_use_from_another_loop_is_refused_at_once() -> None:
    """Whether the loop of the opening still runs, or is closed."""
    with asyncio.Runner() as first, asyncio.Runner() as second:
        store = RedisStore.fake()
        first.run(store.open())
        engine = Engine(store, quick_settings())
        first.run(engine.start())
        assert first.run(engine.list_all_limits()) == []

        for call in (
            engine.list_all_limits, engine.check, engine.measure, engine.aclose, store.ping, store.aclose,
            lambda: engine.get_user(user_id="alice"), lambda: read_journal(store, "0-0", 1),
        ):  # fmt: skip
            with pytest.raises(RuntimeError, match="in another event loop"):
                second.run(asyncio.wait_for(call(), 1))
        first.run(engine.aclose())
        with pytest.raises(EngineClosed):
            second.run(engine.check())
        first.run(store.aclose())
        # A closed store can be opened in any loop.
        second.run(store.open())
        second.run(store.aclose())

    with asyncio.Runner() as closed:
        store = RedisStore.fake()
        closed.run(store.open())
        engine = Engine(store, quick_settings())
        closed.run(engine.start())
    with asyncio.Runner() as other:
        for call in (engine.check, store.ping, engine.aclose, store.aclose):
            with pytest.raises(RuntimeError, match="in another event loop"):
                other.run(asyncio.wait_for(call(), 1))
