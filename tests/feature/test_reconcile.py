"""`technopay reconcile` on an embedded store and on servers: it compares, and decides only with --resolve."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from subprocess import CompletedProcess
from typing import NamedTuple

import pytest
from support.fixtures.audit import assert_clean
from support.fixtures.engine_setup import make_setup
from support.fixtures.http_api import unchanged
from support.fixtures.settlement_files import (
    fail_payment,
    refund,
    row,
    scripted,
    set_aside_payment,
    set_aside_refund,
    write_file,
)
from support.processes.service import assert_one_line, run_command
from support.servers.raw_client import flush

from technopay.engine import SettlementRow
from technopay.engine.record import rfc3339
from technopay.storage import RedisStore

EQUAL, DIFFERENT, COULD_NOT_RUN = 0, 1, 2


class Place(NamedTuple):
    """A store and the arguments that name it."""

    store: RedisStore
    home: Path
    arguments: tuple[str, str]

    async def reconcile(self, rows: Iterable[SettlementRow], *more: str) -> CompletedProcess[str]:
        """Run the command beside this process, which uses the store."""
        name = write_file(self.home, rows)
        return await asyncio.to_thread(run_command, self.home, "reconcile", name, *self.arguments, *more)


@pytest.fixture(params=["embedded", "valkey", "redis"])
async def place(request: pytest.FixtureRequest, home: Path) -> AsyncIterator[Place]:
    if request.param == "embedded":
        async with RedisStore.embedded(home / "data") as store:
            yield Place(store, home, ("--data-dir", "data"))
            await assert_clean(store)
        return
    url: str = request.getfixturevalue(f"{request.param}_url")
    partitions = 3 if request.param == "redis" else 1
    async with RedisStore.connect(url, initialise=True, partitions=partitions) as store:
        yield Place(store, home, ("--redis", url))
        await assert_clean(store)
    await flush(url)


async def test_it_compares_beside_a_running_engine_and_changes_nothing(place: Place) -> None:
    async with scripted(place.store) as (alice, answers):
        bob = await make_setup(alice.engine, place.store, "bob")
        first, second, third = await alice.pay(), await bob.pay(), await alice.pay()
        reversal = await refund(alice, first, 100)
        aside = await set_aside_payment(alice, answers)
        rows = [row(each.id) for each in (first, second, third)] + [row(reversal.id, 100, "reversed")]
        wrong = [rows[0].model_copy(update={"amount": 1}), rows[3], row("pay_00none"), row(aside.id)]
        equal = await place.reconcile(rows)
    async with unchanged(place.store):  # to the last key, now that the engine has ended
        different = await place.reconcile(wrong)
        as_json = await place.reconcile(wrong, "--json", "--to", "2100-01-01T00:00:00Z")
        assert first.settled_at
        period = "--from", rfc3339(first.settled_at), "--to", "2100-01-01T00:00:00Z"
        missing = await place.reconcile([], *period, "--json")

    assert (equal.returncode, equal.stderr) == (EQUAL, "")
    assert equal.stdout.splitlines()[-2:] == ["4 rows, 4 equal, 0 missing, 0 extra, 0 different", "equal"]
    assert (different.returncode, different.stderr) == (DIFFERENT, "")
    assert different.stdout.splitlines()[-2:] == [
        "4 rows, 1 equal, 2 missing, 1 extra, 2 different", "DIFFERENT"
    ]  # fmt: skip
    for text in ("25.00 EUR settled", "0.01 EUR settled", "25.00 EUR processing, set_aside"):
        assert text in different.stdout
    assert as_json.returncode == DIFFERENT
    shown = json.loads(as_json.stdout)
    assert set(shown) == {"missing", "extra", "different", "counts", "settled_from", "settled_to"}
    assert {each["key"] for each in shown["missing"]} == {second.id, third.id}
    assert [each["key"] for each in shown["different"]] == [first.id, aside.id]
    assert shown["extra"] == [
        {
            "key": "pay_00none",
            "ours": None,
            "theirs": {"amount": 2_500, "currency": "EUR", "outcome": "settled"},
        }
    ]
    assert missing.returncode == DIFFERENT
    assert {each["key"] for each in json.loads(missing.stdout)["missing"]} == {each.key for each in rows}


async def test_resolve_decides_what_was_set_aside_once_and_nothing_else(place: Place) -> None:
    async with scripted(place.store) as (alice, answers):
        settled, declined, other_amount = [await set_aside_payment(alice, answers) for _ in range(3)]
        parts = [await set_aside_refund(alice, answers) for _ in range(2)]
        failed, paid = await fail_payment(alice, answers), await alice.pay()
        right = [
            row(settled.id), row(declined.id, outcome="declined"), row(parts[0][1].id, 1_000, "reversed"),
            row(parts[1][1].id, 1_000, "declined"), row(parts[0][0].id), row(parts[1][0].id), row(paid.id),
        ]  # fmt: skip
        before = await alice.balance()
        first = await place.reconcile(right, "--resolve", "--by", "olga", "--json")
        after = await alice.balance()
        shown = [await alice.engine.find_payment(payment_id=each.id) for each in (settled, declined)]
        refunded = [await alice.engine.find_payment(payment_id=each.id) for each, _ in parts]
    async with unchanged(place.store):
        second = await place.reconcile(right, "--resolve", "--json")
        undecided = [row(other_amount.id, 1), row(failed.id), row(paid.id, outcome="declined")]
        kept = await place.reconcile(undecided, "--resolve", "--json")

    assert (first.returncode, first.stderr) == (EQUAL, "")
    found = json.loads(first.stdout)
    assert (found["resolved"], found["resolved_count"]) == ([each.key for each in right[:4]], 4)
    assert found["counts"] == {"rows": 7, "equal": 7, "missing": 0, "extra": 0, "different": 0}
    assert after - before == declined.amount + 1_000
    assert [(each.status, each.set_aside) for each in shown] == [("succeeded", False), ("failed", False)]
    for number, each in enumerate(shown, 2):
        assert each.resolution
        assert (each.resolution.note, each.resolution.by) == (f"reconciled with file.csv row {number}", "olga")
    assert [each.refunds[0].status for each in refunded] == ["done", "failed"]
    assert second.returncode == EQUAL
    assert json.loads(second.stdout)["resolved"] == []
    assert kept.returncode == DIFFERENT
    assert json.loads(kept.stdout)["resolved_count"] == 0
    assert [each["key"] for each in json.loads(kept.stdout)["different"]] == [each.key for each in undecided]


def test_it_starts_an_embedded_store_that_does_not_run_and_shows_what_it_resolved(home: Path) -> None:
    async def set_aside() -> str:
        async with RedisStore.embedded(home / "data") as store, scripted(store) as (alice, answers):
            return (await set_aside_payment(alice, answers)).id

    payment_id = asyncio.run(set_aside())
    name = write_file(home, [row(payment_id)], "day 1.csv")
    told = run_command(home, "reconcile", name, "--data-dir", "data")
    decided = run_command(home, "reconcile", name, "--data-dir", "data", "--resolve")
    again = run_command(home, "reconcile", name, "--data-dir", "data")

    assert told.returncode == DIFFERENT
    assert "processing, set_aside" in told.stdout
    assert (decided.returncode, decided.stderr) == (EQUAL, "")
    assert f"resolved: {payment_id}" in decided.stdout.splitlines()
    assert again.returncode == EQUAL
    assert run_command(home, "audit", "--data-dir", "data").returncode == 0


def test_the_command_says_why_it_could_not_run(home: Path) -> None:
    name = write_file(home, [row("pay_1")])
    nowhere = "--data-dir", "nowhere"
    for arguments, words in (
        (("none.csv", *nowhere), "none.csv cannot be read: No such file or directory"),
        ((".", *nowhere), "cannot be read: Is a directory"),
        ((name, *nowhere), "there is no store in"),
        ((name, "--redis", "redis://127.0.0.1:1"), "127.0.0.1"),
        ((name, *nowhere, "--resolve", "--by", ""), "--by has to be 1 to 128 characters"),
        ((name, *nowhere, "--from", "2036-01-01"), "has to be a time with an offset"),
        ((name, *nowhere, "--from", "2036-01-01T00:00:00Z", "--to", "2036-01-01T00:00:00Z"), "--to has to be"),
        ((write_file(home, [], "empty.csv"), *nowhere), "empty.csv has no row"),
        ((write_file(home, [row("pay_1")] * 2, "twice.csv"), *nowhere), "row 3, column key: is that of row 2"),
    ):
        assert_one_line(run_command(home, "reconcile", *arguments), COULD_NOT_RUN, words)
    assert not (home / "nowhere").exists()
