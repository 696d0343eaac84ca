"""What clients were told, compared with what is in the store when everything came to rest."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from support.at_rest import Entries, RawStore, assert_all_was_told, wait_for_rest
from support.audit import assert_books_balance
from support.http import Json
from support.shoppers import Answer, Journal, Line

from technopay.engine.models import FINAL_STATUSES, from_ms, rfc3339

REPLAYS_MAX = 1_000
REPLAYS_AT_A_TIME = 8

AFTER_DEBIT = {"succeeded", "refunding", "refunded"}
SUCCESSORS: Mapping[str, set[str]] = {
    "requires_confirmation": {"processing", "failed", "canceled", "expired", *AFTER_DEBIT},
    "processing": {"processing", "failed", *AFTER_DEBIT},
    "succeeded": AFTER_DEBIT,
    "refunding": {"refunding", "refunded"},
    "refunded": {"refunded"},
    "failed": {"failed"},
    "canceled": {"canceled"},
    "expired": {"expired"},
}
"""What a payment can be in the end, after a client was told what it was."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The counters of a run."""

    acknowledged_answers: int
    acknowledged_payments: int
    engine_kills: int
    store_kills: int
    unknown_outcomes_repeated: int
    refused_by_the_limit: int
    confirmed_twice: int
    replays_compared: int
    lost: int
    doubled: int
    limit_overruns: int
    unsettled: int

    def conclude(self) -> None:
        """Print the counters, and fail if one is not as it has to be."""
        print("\n" + "\n".join(f"{name.replace('_', ' ')}: {value}" for name, value in asdict(self).items()))  # noqa: T201
        assert (self.lost, self.doubled, self.limit_overruns, self.unsettled) == (0, 0, 0, 0), self
        assert self.acknowledged_payments, "no payment was acknowledged: nothing was tried"
        assert self.unknown_outcomes_repeated, "no answer was lost: the kills hit nothing"
        assert self.refused_by_the_limit, "the limit was never hit"
        assert self.confirmed_twice, "no payment was confirmed twice"


async def judge(journal: Journal, raw: RawStore, url: str, line: Line, kills: Counter[str]) -> Verdict:
    """Wait until everything came to rest, at most a minute; then compare."""
    unsettled = await count_unsettled(raw)
    entries = await raw.journal()
    payments = await read_all(raw, "payment", said_of(entries, "payment.started", "payment"))
    lost = await find_lost(journal, raw, entries, payments)
    assert not lost, f"{len(lost)} lost: " + "\n".join(lost[:20])
    await assert_books_balance(url, raw.namespace)
    await assert_all_was_told(raw, entries)
    return Verdict(
        acknowledged_answers=len(journal.answers),
        acknowledged_payments=len(acknowledged(journal)),
        engine_kills=kills["engine"],
        store_kills=kills["store"],
        unknown_outcomes_repeated=journal.repeated,
        refused_by_the_limit=journal.refused_by_limit,
        confirmed_twice=journal.confirmed_twice,
        replays_compared=await compare_replays(journal, line),
        lost=len(lost),
        doubled=count_doubled(entries),
        limit_overruns=count_overruns(entries),
        unsettled=unsettled,
    )


async def count_unsettled(raw: RawStore) -> int:
    """How many payments are neither final nor set aside a minute after the last fault."""
    try:
        await wait_for_rest(raw)
    except AssertionError as error:
        print(error, getattr(error, "__notes__", ""))  # noqa: T201
    payments = await read_all(raw, "payment", said_of(await raw.journal(), "payment.started", "payment"))
    return sum(
        payment["status"] not in FINAL_STATUSES and "set_aside" not in payment for payment in payments.values()
    )


async def find_lost(
    journal: Journal, raw: RawStore, entries: Entries, payments: Mapping[str, Mapping[str, str]]
) -> list[str]:
    """What a client was told, and the store does not say, or what the store says that nobody was told."""
    lost = [
        f"{answer}: now {payments.get(answer.payment['id'])}"
        for answer in journal.answers
        if answer.payment and not is_successor(answer.payment, payments.get(answer.payment["id"], {}))
    ]
    known = acknowledged(journal)
    lost += [f"{payment_id}: nobody was told of it" for payment_id in payments.keys() - known.keys()]
    balances: Counter[str] = Counter()
    for answer in journal.answers:
        if answer.call.path.endswith("/deposit") and answer.status == 200:
            assert answer.call.body
            balances[answer.body["id"]] += answer.call.body["amount"]
    for payment in payments.values():
        if payment["status"] in ("processing", "succeeded", "refunding"):
            balances[payment["wallet"]] -= int(payment["amount"])
    for wallet_id, wallet in (await read_all(raw, "wallet", balances)).items():
        if wallet.get("balance") != str(balances[wallet_id]):
            lost.append(f"{wallet_id}: {wallet}, by the answers {balances[wallet_id]}")
    return lost + [
        f"{answer}: the store knows nothing of it"
        for answer in journal.answers
        if answer.status == 201 and not await is_known(raw, answer)
    ]


def is_successor(told: Json, now: Mapping[str, str]) -> bool:
    """Whether a payment can be what it is now after what a client was told of it."""
    if not now or now["status"] not in SUCCESSORS[told["status"]]:
        return False
    terms = now["amount"], now["user"], now["wallet"], now["invoice"]
    if terms != (str(told["amount"]), told["user_id"], told["wallet_id"], told["invoice_id"]):
        return False
    return told["paid_at"] is None or told["paid_at"] == rfc3339(from_ms(now["paid_at"]))


async def is_known(raw: RawStore, answer: Answer) -> bool:
    """Whether the store has what was made."""
    record_id = answer.body["id"]
    kind = {"wal": "wallet", "inv": "invoice", "pay": "payment"}.get(record_id.partition("_")[0], "user")
    return bool(await raw.read(kind, record_id))


def acknowledged(journal: Journal) -> dict[str, Json]:
    """The payments that clients know."""
    return {answer.payment["id"]: answer.payment for answer in journal.answers if answer.payment}


def count_doubled(entries: Entries) -> int:
    """How many payments took money more than once, or gave it back more than once."""
    moves: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for _, said in entries:
        if "amount" in said and "payment" in said:
            moves[said["payment"]]["debit" if int(said["amount"]) < 0 else "credit"] += 1
    return sum(max(count.values()) > 1 for count in moves.values())


def count_overruns(entries: Entries) -> int:
    """How many debits went over the limit that was set when they were made."""
    limit, overruns = None, 0
    for _, said in entries:
        if said["type"] == "limit.set":
            limit = int(said["amount"]) if said.get("amount") else None
        elif said["type"] == "payment.processing" and limit is not None:
            overruns += int(said["global_used"]) > limit
    return overruns


def said_of(entries: Entries, entry_type: str, name: str) -> list[str]:
    """What all entries of a type say."""
    return [said[name] for _, said in entries if said["type"] == entry_type]


async def read_all(raw: RawStore, kind: str, ids: Iterable[str]) -> dict[str, dict[str, str]]:
    """Read records."""
    return {record_id: await raw.read(kind, record_id) for record_id in ids}


async def compare_replays(journal: Journal, line: Line) -> int:
    """Repeat calls that changed something: the answer is the first one again. Answers how many."""
    changing = [answer for answer in journal.answers if answer.call.key and answer.status < 300]
    sample = random.Random(len(changing)).sample(changing, min(REPLAYS_MAX, len(changing)))
    for start in range(0, len(sample), REPLAYS_AT_A_TIME):
        firsts = sample[start : start + REPLAYS_AT_A_TIME]
        compare(firsts, await asyncio.gather(*(line.repeat(first.call) for first in firsts)))
    return len(sample)


def compare(firsts: Sequence[Answer], again: Sequence[Answer]) -> None:
    """Compare first answers with their repeats."""
    for first, second in zip(firsts, again, strict=True):
        assert second.replayed, f"done once more: {first}, {second}"
        if first.call.path.endswith("/refund"):
            # Its answer is how far it got.
            assert_same(first, second, "id", "paid_at", "amount")
        else:
            assert (second.status, second.body) == (first.status, first.body), f"{first}, {second}"


def assert_same(first: Answer, second: Answer, *names: str) -> None:
    """Check that two answers agree in these members."""
    values: list[list[Any]] = [[answer.body[name] for name in names] for answer in (first, second)]
    assert values[0] == values[1], f"{first}, {second}"
