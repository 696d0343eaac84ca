"""The verdict of a load test: the acknowledgements against the final state of the server."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.fixtures.load import (
    DEPOSIT,
    LOST,
    NOW,
    QUICK,
    SILENCE,
    FakeServer,
    fake_server,
    limit_json,
    load_fixtures,
    payment_json,
)

from technopay.cli.load import verdict as verdict_module
from technopay.cli.load.acknowledgements import Acknowledgements
from technopay.cli.load.fixtures import CURRENCY
from technopay.cli.load.result import Verdict
from technopay.cli.load.verdict import judge

CHECKED = dict.fromkeys(("entries", "users", "wallets", "invoices", "payments", "limits", "messages"), 0)
CLEAN = {"clean": True, "checked": CHECKED, "differences": []}
PAYMENTS = "/v1/payments"
WALLET = "/v1/wallets/wal_alice"
LIMITS, AUDIT = "/v1/admin/limits", "/v1/admin/audit"
OTHER = {"id": "pay_2", "invoice_id": "inv_2"}
DAY = NOW.partition("T")[0]
LATER = f"{DAY}T12:00:01Z"
KEPT, BALANCE = "acknowledged_is_kept", "balance_is_sum_of_entries"

every_path = pytest.mark.parametrize(
    "path", [PAYMENTS, WALLET, LIMITS, AUDIT], ids=["payments", "wallet", "limits", "audit"]
)


def page(*data: Any, cursor: str | None = None) -> tuple[int, Any]:
    return 200, {"data": list(data), "has_more": cursor is not None, "next_cursor": cursor}


def balance(amount: int) -> tuple[int, Any]:
    wallet = {"user_id": "alice", "currency": CURRENCY, "status": "active", "created_at": NOW}
    return 200, {"id": "wal_alice", "balance": amount, **wallet}


class Court:
    """A server in order, with one acknowledged payment of 100, until a test changes its replies."""

    def __init__(self, server: FakeServer, session: Any) -> None:
        self.server = server
        self.session = session
        self.fixtures = load_fixtures(session=session, url=server.url)
        self.kept = Acknowledgements()
        self.steps: list[str] = []
        self.kept.add(payment_json())
        self.show(payment_json())
        self.answer(AUDIT, (200, CLEAN))

    def answer(self, path: str, *answers: Any) -> None:
        self.server.answers[path] = list(answers)

    def show(self, *payments: Any, debited: int = 100) -> None:
        """Return these payments, and the balance and limit that result from these debits."""
        self.answer(PAYMENTS, page(*payments))
        self.answer(WALLET, balance(DEPOSIT - debited))
        self.answer(LIMITS, page(limit_json(used=debited)))

    def start_only(self) -> None:
        """Keep no acknowledgement of a debit."""
        self.kept = Acknowledgements()
        self.kept.add(payment_json("requires_confirmation", paid_at=None, balance_after=None))

    async def judge(self) -> Verdict:
        return await judge(self.fixtures, self.kept, self.steps.append)

    async def find(self) -> list[str]:
        """Judge; return the differences that the load test finds while the audit finds none."""
        found = await self.judge()
        assert found.judgement != "unknown"
        assert (found.problem, found.audit is not None) == (None, True)
        return found.differences


@pytest.fixture
async def court(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Court]:
    monkeypatch.setattr(verdict_module, "LOOK_PAUSE_S", 0)
    async with fake_server() as (server, session):
        yield Court(server, session)


async def test_a_sound_server_is_clean_at_the_first_look(court: Court) -> None:
    found = await court.judge()

    assert (found.judgement, found.differences, found.problem) == ("clean", [], None)
    assert found.acknowledged == 1
    assert set(court.server.asked.values()) == {1}
    assert len(court.steps) == 2


@pytest.mark.parametrize("amount", [DEPOSIT - 200, DEPOSIT, DEPOSIT - 99])
async def test_a_balance_that_differs_from_its_payments_is_a_difference(court: Court, amount: int) -> None:
    court.answer(WALLET, balance(amount))

    assert await court.find() == [
        f"{BALANCE}: wal_alice has {amount} and should have {DEPOSIT - 100} by its payments"
    ]
    assert court.server.asked[WALLET] == 2


@pytest.mark.parametrize(
    ("payments", "debited", "lines"),
    [
        ([payment_json(), payment_json(id="pay_2")], 200, ["one_payment_per_invoice: inv_1 was paid 2 times"]),
        ([payment_json(), payment_json("failed", id="pay_2")], 100, []),
        ([], 0, [f"{KEPT}: pay_1 was acknowledged as succeeded and is missing"]),
        ([payment_json("failed")], 0, [f"{KEPT}: pay_1 was acknowledged as succeeded and is failed"]),
        ([payment_json(paid_at=LATER)], 100, [
            f"{KEPT}: pay_1 was acknowledged with paid_at {DAY} 12:00:00+00:00, and has {DAY} 12:00:01+00:00"
        ]),
        ([payment_json(amount=DEPOSIT + 1)], DEPOSIT + 1, [
            f"{BALANCE}: wal_alice has -1, which is below zero",
            f"{KEPT}: pay_1 was acknowledged with amount 100, and has {DEPOSIT + 1}",
        ]),
    ],
    ids=["paid twice", "second given back", "missing", "failed", "paid at another time", "below zero"],
)  # fmt: skip
async def test_differences_of_payments(
    court: Court, payments: list[Any], debited: int, lines: list[str]
) -> None:
    court.show(*payments, debited=debited)

    assert await court.find() == lines


@pytest.mark.parametrize("confirms", [1, 2])
async def test_a_payment_that_is_paid_although_all_its_confirms_were_refused_is_a_difference(
    court: Court, confirms: int
) -> None:
    court.start_only()
    court.kept.confirm("pay_1")
    court.kept.refuse("pay_1", "daily_limit_exceeded")
    for _ in range(1, confirms):
        court.kept.confirm("pay_1")

    refused = f"{KEPT}: pay_1 was refused as daily_limit_exceeded, and is succeeded"
    assert [line.partition(" and paid at")[0] for line in await court.find()] == [refused] * (2 - confirms)


async def test_without_acknowledgements_there_is_no_verdict(court: Court) -> None:
    court.kept = Acknowledgements()
    court.show(debited=0)

    found = await court.judge()

    assert found.judgement == "unknown"
    assert found.problem == "no payment was acknowledged, so there is nothing to judge"


@pytest.mark.parametrize("status", [200, 500])
async def test_a_violation_during_the_run_counts_even_without_the_servers_state(
    court: Court, status: int
) -> None:
    violating = payment_json(**OTHER, balance_after=0)
    court.kept.add(violating)
    court.show(payment_json(), violating, debited=200)
    if status != 200:
        court.answer(PAYMENTS, (status, {}))

    found = await court.judge()

    (line,) = found.differences
    assert line.startswith(f"{BALANCE}: pay_2 took 100")
    assert (found.judgement, found.broken_invariants) == ("broken", [BALANCE])
    assert (found.problem is None) is (status == 200)


async def test_a_payment_of_a_foreign_wallet_is_a_difference(court: Court) -> None:
    court.kept.add(payment_json(**OTHER, wallet_id="wal_mallory"))

    assert await court.find() == [f"{KEPT}: pay_2 is of a foreign wallet wal_mallory"]


@pytest.mark.parametrize(
    ("before", "when_set", "limit", "lines"),
    [
        (0, 0, {"used": 99}, ["FKP counts 99 used since the run began, not 100"]),
        (0, 0, {"used": 101}, []),  # of another client
        (0, 0, {"used": 100, "limit": 100}, []),
        (0, 0, {"used": 101, "limit": 100}, ["FKP has 101 used of a limit of 100"]),
        (0, 0, {"used": 101, "limit": None}, []),
        (0, 0, {"currency": "EUR"}, ["FKP had a limit and has none now"]),
        (0, 0, {"used": 0, "resets_at": "2026-11-25T00:00:00.000Z"}, []),  # midnight has passed
        (1_000, 0, {"used": 1_099}, ["FKP counts 99 used since the run began, not 100"]),
        (0, 100, {"used": 100, "limit": 50}, []),  # set below its use
        (0, 100, {"used": 101, "limit": 50}, ["FKP has 101 used of a limit of 50"]),
    ],
)
async def test_a_limit_counts_all_debits_and_is_not_exceeded(
    court: Court, before: int, when_set: int, limit: dict[str, Any], lines: list[str]
) -> None:
    court.fixtures = load_fixtures(used=before, session=court.session, url=court.server.url)
    court.fixtures.used_when_set = when_set
    court.answer(LIMITS, page(limit_json(**limit)))

    assert await court.find() == [f"limit_is_sum_of_debits: {line}" for line in lines]


@pytest.mark.parametrize("first", [DEPOSIT, DEPOSIT - 100], ids=["settlement", "refund of the limit"])
async def test_a_change_between_two_looks_is_no_difference(court: Court, first: int) -> None:
    # The wallet's reads are consistent in themselves; the limit is read after the failure of the payment.
    court.start_only()
    court.show(debited=0)
    court.answer(PAYMENTS, page(payment_json("processing")), page(payment_json("failed")))
    court.answer(WALLET, balance(first), balance(DEPOSIT))

    assert await court.find() == []
    assert court.server.asked[PAYMENTS] == 2


async def test_looks_at_a_lasting_difference_are_bounded(court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdict_module, "LOOKS", 5)
    court.start_only()
    court.answer(PAYMENTS, page(payment_json("processing")))
    court.answer(WALLET, balance(DEPOSIT))

    assert len(await court.find()) == 1
    assert court.server.asked[PAYMENTS] == 5


async def test_only_wallets_with_a_difference_are_looked_at_again(court: Court) -> None:
    court.fixtures = load_fixtures(users=("alice", "bob"), session=court.session, url=court.server.url)
    court.answer("/v1/wallets/wal_bob", balance(DEPOSIT - 1))
    court.answer(PAYMENTS, page(payment_json()), page(), page())

    (line,) = await court.find()

    assert line.startswith(f"{BALANCE}: wal_bob has {DEPOSIT - 1} and should have {DEPOSIT}")
    assert court.server.asked[WALLET] == 1


async def test_all_pages_are_read(court: Court) -> None:
    court.kept.add(payment_json(**OTHER))
    court.show(debited=200)
    court.answer(PAYMENTS, page(payment_json(), cursor="next"), page(payment_json(**OTHER)))

    assert await court.find() == []


@every_path
async def test_a_server_that_is_busy_for_a_while_is_asked_again(court: Court, path: str) -> None:
    court.answer(path, (503, {}), LOST, LOST, (504, {}), *court.server.answers[path])

    assert (await court.judge()).judgement == "clean"


@every_path
@pytest.mark.parametrize(
    ("answer", "why", "asked"),
    [
        ((503, {}), "503", 10),
        ((500, {}), "500", 1),
        ((403, {}), "403", 1),
        ((200, "<html>"), "200", 1),
        (LOST, "cannot be reached", 20),
        ((200, {}), "200", 1),
        ((200, []), "200", 1),
        ((200, {"data": [{}], "balance": "x"}), "200", 1),
    ],
    ids=["busy", "broken", "forbidden", "html", "lost", "empty", "a list", "other members"],
)
async def test_without_the_servers_state_there_is_no_verdict_but_a_reason(
    court: Court, path: str, answer: Any, why: str, asked: int
) -> None:
    court.answer(path, answer)

    found = await court.judge()

    assert (found.clean, found.judgement, found.audit) == (False, "unknown", None)
    assert found.problem is not None
    assert found.problem.startswith("the audit failed: " if path == AUDIT else "reading the payments failed: ")
    assert why in found.problem
    assert court.server.asked[path] == asked


async def test_the_wait_for_a_silent_server_is_bounded(court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdict_module, "AUDIT_WAIT_S", 0.05 - QUICK.deadline_s)
    court.answer(AUDIT, SILENCE)

    assert (await court.judge()).problem == (
        "the audit failed: The server cannot be reached. Nothing happened; try again."
    )
    assert court.server.asked[AUDIT] == 1


@pytest.mark.parametrize("clean", [False, True])
async def test_a_difference_of_the_audit_counts_and_has_its_name(court: Court, *, clean: bool) -> None:
    difference = {
        "invariant": "no_money_made_or_lost", "subject": "EUR", "what": "total", "expected": "1", "found": "2"
    }  # fmt: skip
    court.answer(AUDIT, (200, {**CLEAN, "clean": clean, "differences": [difference]}))

    found = await court.judge()

    assert (found.clean, found.differences) == (False, [])
    assert found.broken_invariants == ["no_money_made_or_lost"]


async def test_an_audit_that_is_not_clean_and_names_no_difference_is_no_verdict(court: Court) -> None:
    court.answer(AUDIT, (200, {**CLEAN, "clean": False}))

    found = await court.judge()

    assert found.judgement == "unknown"
    assert found.problem == "the server's audit is not clean and does not name a difference"
