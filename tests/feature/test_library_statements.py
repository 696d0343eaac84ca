"""Statements of wallets: whatever moved the money, the rows of any range add up."""

import random
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from support.fixtures.engine_setup import Setup

from technopay.engine import Engine, Entry, SettlementFailed, Statement, ValidationFailed, WalletNotFound

pytestmark = pytest.mark.any_partition

EARLY, LATE = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


def of_wallet(alice: Setup) -> dict[str, Any]:
    return {"wallet_id": alice.wallet_id}


async def all_pages(engine: Engine, limit: int, **arguments: Any) -> tuple[Statement, list[Entry]]:
    """Read a statement to its end; return its last page and all of its entries."""
    rows: list[Entry] = []
    cursor: str | None = ""
    balances = set()
    while cursor is not None:
        page = await engine.find_statement(**arguments, limit=limit, cursor=cursor)
        balances.add((page.opening_balance, page.closing_balance))
        assert page.has_more == (page.next_cursor is not None)
        assert len(page.data) == limit or not page.has_more
        rows, cursor = rows + page.data, page.next_cursor
    assert len(balances) == 1, "the balances are the same on every page"
    return page, rows


async def move_money(alice: Setup, chance: random.Random) -> None:
    """Move money in every way, in any order."""
    engine, wallet = alice.engine, of_wallet(alice)
    corrected = wallet | {"note": "a correction", "by": "root"}
    paid = []
    for _ in range(12):
        match chance.choice(("deposit", "withdraw", "adjust", "pay", "give back", "refund")):
            case "deposit":
                await engine.deposit(**wallet, amount=chance.randint(1, 500))
            case "withdraw":
                await engine.withdraw(**corrected, amount=chance.randint(1, 50))
            case "adjust":
                await engine.adjust(**corrected, amount=chance.choice((-7, 7)))
            case "pay":
                paid.append(await alice.pay(await alice.invoice(200)))
            case "give back":
                declined = await alice.start(await alice.invoice(100, "acme-declines"))
                with pytest.raises(SettlementFailed):
                    await alice.confirm(declined)
            case "refund" if paid:
                await engine.refund_payment(payment_id=paid.pop().id)


@pytest.mark.parametrize("seed", range(3))
async def test_the_rows_of_any_range_add_up_whatever_moved_the_money(alice: Setup, seed: int) -> None:
    chance, engine, wallet = random.Random(seed), alice.engine, of_wallet(alice)
    await move_money(alice, chance)

    whole, rows = await all_pages(engine, 100, **wallet)

    listed = (await engine.search_entries(**wallet, limit=100)).data
    assert rows == listed[::-1]
    assert (whole.opening_balance, whole.currency) == (0, "EUR")
    assert whole.closing_balance == (await engine.find_wallet(**wallet)).balance
    for limit in (1, 2, 5):
        assert (await all_pages(engine, limit, **wallet))[1] == rows
    for _ in range(10):
        first, last = sorted((chance.choice(rows).at, chance.choice(rows).at))
        last += timedelta(milliseconds=1)
        part, inside = await all_pages(engine, chance.randint(1, 7), **wallet, at_from=first, at_to=last)
        assert inside == [entry for entry in rows if first <= entry.at < last]
        assert part.opening_balance + sum(entry.amount for entry in inside) == part.closing_balance
        assert part.opening_balance == inside[0].balance_after - inside[0].amount
        before, after = (
            await engine.find_statement(**wallet, at_to=first),
            await engine.find_statement(**wallet, at_from=last),
        )
        assert (before.closing_balance, after.opening_balance) == (part.opening_balance, part.closing_balance)


async def test_a_user_reads_the_statement_of_an_own_wallet_only(alice: Setup) -> None:
    engine = alice.engine
    await engine.create_user(user_id="bob", email="bob@example.com", phone=None)
    theirs = await engine.get_statement(user_id="alice", wallet_id=alice.wallet_id)
    assert theirs == await engine.find_statement(wallet_id=alice.wallet_id)
    for user_id, wallet_id in (("bob", alice.wallet_id), ("alice", "wal_00none"), ("alice", "nonsense")):
        with pytest.raises(WalletNotFound):
            await engine.get_statement(user_id=user_id, wallet_id=wallet_id)


async def test_a_range_has_a_beginning_before_its_end(alice: Setup) -> None:
    noon = datetime(2036, 1, 1, 12, tzinfo=UTC)
    for begin, end in ((noon, noon), (LATE, EARLY), (noon, noon.astimezone(timezone(timedelta(hours=5))))):
        with pytest.raises(ValidationFailed) as refused:
            await alice.engine.find_statement(wallet_id=alice.wallet_id, at_from=begin, at_to=end)
        assert [(error.field, error.message) for error in refused.value.errors] == [
            ("to", "has to be later than from")
        ]


async def test_a_time_counts_by_its_instant_to_the_microsecond(alice: Setup) -> None:
    wallet = of_wallet(alice)
    [deposit] = (await alice.engine.find_statement(**wallet)).data
    elsewhere = deposit.at.astimezone(timezone(timedelta(hours=-9, minutes=-30)))
    microsecond = timedelta(microseconds=1)
    for begin, end, expected in (
        (elsewhere, None, 1), (elsewhere + microsecond, None, 0), (None, elsewhere, 0),
        (None, elsewhere + microsecond, 1), (elsewhere - microsecond, elsewhere + microsecond, 1),
        (EARLY, LATE, 1), (LATE, None, 0), (None, EARLY, 0),
    ):  # fmt: skip
        found = await alice.engine.find_statement(**wallet, at_from=begin, at_to=end)
        assert (begin, end, len(found.data)) == (begin, end, expected)


async def test_a_cursor_that_no_page_has_is_refused(alice: Setup) -> None:
    wallet = of_wallet(alice)
    for amount in (1, 2, 3):
        await alice.engine.deposit(**wallet, amount=amount)
    page = await alice.engine.find_statement(**wallet, limit=1)
    assert page.next_cursor == "0.1.4"
    for cursor in (
        "1", "0.1", "0.1.4.5", ".1.4", "0.1.", "0.0.4", "1.1.4", "2.1.4", "0.4.4", "0.4.1", "0.1.5", "4.5.6",
        "-1.1.4", "0.-1.4", "+0.1.4", "0.1.4 ", "0.1.4\n", "0x0.1.4", "0.1.1e3", "nan.1.4", "0,1,4", "٠.1.4",
        f"0.1.{'9' * 15}", f"0.1.{'9' * 16}", f"0.1.{'9' * 400}", "a.b.c", "..", "é",
    ):  # fmt: skip
        with pytest.raises(ValidationFailed) as refused:
            await alice.engine.find_statement(**wallet, cursor=cursor)
        assert [error.field for error in refused.value.errors] == ["cursor"], cursor
