"""Statements: the entries of a wallet in a range of times, with the balances around it."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from support.fixtures.clock import FakeClock
from support.fixtures.store_commands import read_statement
from support.fixtures.store_setup import Setup, client_of, value_of

from technopay.engine.errors import InternalError
from technopay.engine.models import Statement
from technopay.engine.record import to_ms

FUTURE_MS = 4_102_444_800_000
"""The year 2100."""


def amounts(statement: Statement) -> list[int]:
    return [entry.amount for entry in statement.data]


def around(statement: Statement) -> tuple[int, int]:
    return statement.opening_balance, statement.closing_balance


async def all_pages(setup: Setup, wallet: str, limit: int) -> list[Statement]:
    pages = [value_of(await read_statement(setup.store, wallet, limit=limit))]
    while cursor := pages[-1].next_cursor:
        pages.append(value_of(await read_statement(setup.store, wallet, None, None, cursor, limit)))
    return pages


async def ids_of(setup: Setup, wallet: str) -> list[str]:
    """The journal ids of a wallet's entries."""
    found: list[str] = await client_of(setup.store).lrange(setup.keys.key("entries", wallet), 0, -1)
    return found


async def test_a_wallet_without_entries_has_an_empty_statement(setup: Setup) -> None:
    wallet = await setup.wallet(balance=0, currency="JPY")
    for times in ((None, None), (1, None), (None, FUTURE_MS), (1, FUTURE_MS)):
        statement = value_of(await read_statement(setup.store, wallet, *times))
        assert (around(statement), statement.data, statement.currency) == ((0, 0), [], "JPY")
        assert (statement.has_more, statement.next_cursor) == (False, None)


async def test_every_range_has_exactly_its_entries_and_adds_up(setup: Setup) -> None:
    wallet = await setup.wallet(balance=0)
    for amount in range(1, 12):
        await setup.deposit(wallet, amount)
    payment, claim = await setup.refunding(wallet, 30)
    assert (await setup.complete(payment, claim, "reversed")).code == "ok"
    made = [*range(1, 12), -30, 30]
    times = [int(entry.partition("-")[0]) for entry in await ids_of(setup, wallet)]
    assert len(times) == len(made)
    bounds = sorted({at + step for at in times for step in (-1, 0, 1)})
    ranges: Sequence[tuple[int | None, int | None]] = [
        *((begin, end) for begin in bounds[::2] for end in bounds[::3] if begin < end),
        *((None, bound) for bound in bounds), *((bound, None) for bound in bounds), (None, None),
    ]  # fmt: skip
    for begin, end in ranges:
        statement = value_of(await read_statement(setup.store, wallet, begin, end, limit=100))
        inside = [(begin or 0) <= at < (end or FUTURE_MS) for at in times]
        assert amounts(statement) == [amount for amount, is_in in zip(made, inside, strict=True) if is_in]
        assert statement.opening_balance == sum(
            amount for amount, at in zip(made, times, strict=True) if at < (begin or 0)
        )
        assert statement.closing_balance == statement.opening_balance + sum(amounts(statement))


async def test_the_first_millisecond_is_in_the_range_and_the_end_is_not(
    clocked: Setup, fake_clock: FakeClock
) -> None:
    wallet, noon = await clocked.wallet(balance=0), fake_clock.now_ms
    for amount, step_ms in ((1, 10), (2, 0), (4, 10), (8, 0)):
        await clocked.deposit(wallet, amount)
        fake_clock.advance(step_ms)
    for begin, end, expected, balances in (
        (0, 1, [1], (0, 1)), (0, 10, [1], (0, 1)), (0, 11, [1, 2, 4], (0, 7)), (1, 10, [], (1, 1)),
        (1, 20, [2, 4], (1, 7)), (10, 11, [2, 4], (1, 7)), (10, 21, [2, 4, 8], (1, 15)),
        (11, 20, [], (7, 7)), (20, 99, [8], (7, 15)), (21, 99, [], (15, 15)), (-9, 0, [], (0, 0)),
    ):  # fmt: skip
        statement = value_of(await read_statement(clocked.store, wallet, noon + begin, noon + end))
        assert (begin, end, amounts(statement), around(statement)) == (begin, end, expected, balances)


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 6])
async def test_pages_fit_together_while_new_entries_come(setup: Setup, limit: int) -> None:
    wallet = await setup.wallet(balance=0)
    for amount in range(1, 7):
        await setup.deposit(wallet, amount)
    times = [int(entry.partition("-")[0]) for entry in await ids_of(setup, wallet)]
    second = next(number for number, at in enumerate(times) if at == times[1])
    pages, cursor = list[Statement](), ""
    while not pages or (cursor and len(pages) < 9):
        # Without an end, entries that come between two pages would be in the range.
        page = value_of(await read_statement(setup.store, wallet, times[1], None, cursor, limit))
        pages.append(page)
        await setup.deposit(wallet, 1_000)
        cursor = page.next_cursor or ""
    assert [amount for page in pages for amount in amounts(page)] == list(range(1, 7))[second:]
    assert {around(page) for page in pages} == {(sum(range(1, second + 1)), 21)}
    assert [len(page.data) for page in pages[:-1]] == [limit] * (len(pages) - 1)
    assert [page.has_more for page in pages] == [True] * (len(pages) - 1) + [False]


async def test_a_page_begins_where_the_one_before_it_ended(setup: Setup) -> None:
    wallet = await setup.wallet(balance=5)
    payment, claim = await setup.refunding(wallet, 3)
    assert (await setup.complete(payment, claim, "reversed")).code == "ok"
    [whole] = await all_pages(setup, wallet, 10)
    rows = [entry for page in await all_pages(setup, wallet, 1) for entry in page.data]
    assert [entry.kind for entry in rows] == ["deposit", "payment", "refund"]
    assert rows == whole.data
    for earlier, later in pairwise(rows):
        assert later.balance_after - later.amount == earlier.balance_after


async def test_a_wallet_of_another_user_does_not_exist(setup: Setup) -> None:
    await setup.user("bob")
    wallet = await setup.wallet(balance=5)
    assert (await read_statement(setup.store, wallet, user_id="alice")).code == "ok"
    assert (await read_statement(setup.store, wallet, user_id="bob")).code == "wallet_not_found"
    assert (await read_statement(setup.store, wallet, cursor="0.1.9", user_id="bob")).code == "wallet_not_found"
    assert (await read_statement(setup.store, "wal_00none")).code == "wallet_not_found"


async def test_a_cursor_behind_the_last_entry_is_of_no_page(setup: Setup) -> None:
    wallet = await setup.wallet(balance=0)
    for amount in (1, 2, 4):
        await setup.deposit(wallet, amount)
    for cursor, code in (
        ("0.1.3", "ok"), ("0.1.4", "no_page"), ("3.4.5", "no_page"), (f"0.1.{'9' * 15}", "no_page")
    ):  # fmt: skip
        assert (cursor, (await read_statement(setup.store, wallet, cursor=cursor)).code) == (cursor, code)
    page = value_of(await read_statement(setup.store, wallet, FUTURE_MS, None, "1.2.3"))
    assert (amounts(page), around(page)) == ([4], (1, 7)), "the times beside a cursor have no effect"


@pytest.mark.corrupts
async def test_an_entry_counts_at_the_time_of_its_id_if_the_clock_went_back(setup: Setup) -> None:
    wallet = await setup.wallet(balance=1)
    await client_of(setup.store).xadd(setup.keys.journal, {"user.created": "nobody"}, id=f"{FUTURE_MS}-5")
    await setup.deposit(wallet, 2)
    await setup.deposit(wallet, 4)
    early = value_of(await read_statement(setup.store, wallet, None, FUTURE_MS))
    late = value_of(await read_statement(setup.store, wallet, FUTURE_MS, None))
    assert (amounts(early), around(early)) == ([1], (0, 1))
    assert (amounts(late), around(late)) == ([2, 4], (1, 7))
    assert all(to_ms(entry.at) < FUTURE_MS for entry in late.data)


@pytest.mark.corrupts
async def test_a_statement_of_a_wallet_without_currency_is_refused(setup: Setup) -> None:
    wallet = await setup.wallet(balance=1)
    await client_of(setup.store).hdel(setup.keys.key("wallet", wallet), "currency")
    with pytest.raises(InternalError):
        await read_statement(setup.store, wallet)


@pytest.mark.corrupts
@pytest.mark.parametrize("is_gone", [True, False], ids=["gone", "without amount"])
async def test_a_statement_without_one_of_its_entries_is_refused(
    setup: Setup, caplog: pytest.LogCaptureFixture, *, is_gone: bool
) -> None:
    wallet = await setup.wallet(balance=0)
    for amount in (1, 2, 4, 8):
        await setup.deposit(wallet, amount)
    client, broken = client_of(setup.store), (await ids_of(setup, wallet))[1]
    await client.xdel(setup.keys.journal, broken)
    if not is_gone:
        broken = await client.xadd(setup.keys.journal, {"wallet.deposited": wallet, "balance": "3"})
        await client.lset(setup.keys.key("entries", wallet), 1, broken)
    for cursor, limit in (("", 10), ("0.1.4", 1), ("2.3.4", 1), ("0.0.2", 1)):
        with pytest.raises(InternalError):
            await read_statement(setup.store, wallet, cursor=cursor, limit=limit)
    assert f"entry '{broken}' cannot be read" in caplog.text
    # A page far from it can be read.
    page = value_of(await read_statement(setup.store, wallet, cursor="0.2.4"))
    assert (amounts(page), around(page)) == ([4, 8], (0, 15))
