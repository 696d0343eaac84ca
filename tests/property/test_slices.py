"""Slices of limits in a soup of messages: lost, late, twice and in any order, between the real scripts.

What LimitSlices does in turn is done here at random: each message is one command to one partition.
"""

import random
from collections import Counter
from typing import Any

import pytest
from support.fixtures import placed_keys
from support.fixtures.audit import assert_clean
from support.fixtures.store_setup import RIGHT, Setup, client_of, new_id, operation, start_command

from technopay.engine.commands import ConfirmPayment, SetLimit
from technopay.storage import RedisStore
from technopay.storage.commands import (
    AskSlice,
    LimitState,
    RecallSlice,
    ReportSlices,
    Slice,
    SliceReport,
    SliceTotals,
    SpreadLimit,
    TakeSlice,
)
from technopay.storage.decode import LIMIT_SHORT, SliceRequest

USERS = ("alice", "bob", "carol", "dave")
NAME, LIMITS = "global:EUR", (0, 300, 800, 1_000, 1_500, 3_000)
STEPS, MESSAGES_MAX = 700, 40
LOST, TWICE = 0.1, 0.12


class Soup:
    """A store of several partitions, messages under way, and what was promised to operators."""

    def __init__(self, setup: Setup, seed: int) -> None:
        self.setup = setup
        self.random = random.Random(seed)
        self.partitions = list(setup.store._partitions)
        self.home = setup.store._partitions.home_of_limit(NAME)
        self.messages: list[tuple[Any, Any]] = []
        self.wallets: dict[str, str] = {}
        self.debits: list[tuple[str, str]] = []
        self.waiting: list[tuple[str, str]] = []
        self.limit: int | None = None
        self.pending: int | None = None
        self.ceiling: int | None = None
        """Since a change reached all partitions, no debit leaves more than this used."""
        self.met: Counter[str] = Counter()
        self.period = ""

    async def begin(self) -> None:
        for user in USERS:
            await self.setup.user(user)
            self.wallets[user] = await self.setup.wallet(user, 10**9)
        await self.change_limit(1_000)

    async def step(self) -> None:
        chance = self.random.random()
        if chance < 0.3:
            await self.start()
        elif chance < 0.45 and self.waiting:
            await self.confirm(self.waiting.pop(self.random.randrange(len(self.waiting))))
        elif chance < 0.5 and self.debits:
            await self.give_back()
        elif chance < 0.52:
            await self.change_limit(self.random.choice([each for each in LIMITS if each != self.limit]))
        elif chance < 0.56:
            await self.spread()
        elif self.messages:
            await self.deliver()
        while len(self.messages) > MESSAGES_MAX:
            self.messages.pop(self.random.randrange(len(self.messages)))

    async def deliver(self) -> None:
        """Deliver a message, which can stay under way; or lose it."""
        place = self.random.randrange(len(self.messages))
        partition, command = self.messages[place]
        if self.random.random() >= TWICE:
            self.messages.pop(place)
        if self.random.random() < LOST:
            return
        outcome = await partition.run(command)
        self.met[f"{type(command).__name__} {outcome.code}"] += 1
        if isinstance(command, AskSlice):
            self.on_asked(command, outcome)
        elif isinstance(command, RecallSlice):
            report = SliceReport(f"{partition.number:02x}", *outcome.value)
            self.messages.append((self.home, ReportSlices(command.slice, command.state.epoch, [report])))

    def on_asked(self, command: AskSlice, outcome: Any) -> None:
        (mode, epoch, limit, granted, others, left), holders = outcome.value
        state = LimitState(mode, epoch, limit)
        if outcome.code in ("ok", "short"):
            holder = self.partitions[int(command.holder, 16)]
            self.messages.append((holder, TakeSlice(command.slice, state, granted, others, left)))
        for number, total in zip(holders[::2], holders[1::2], strict=True):
            self.messages.append((self.partitions[int(number, 16)], RecallSlice(command.slice, state, total)))

    def ask(self, user: str, need: SliceRequest) -> None:
        self.period = need.period
        number = self.setup.store.partition_of(user)
        part = Slice(need.rule, need.currency, need.period)
        totals = SliceTotals(need.granted, need.returned, need.used)
        question = AskSlice(part, f"{number:02x}", totals, need.amount, 4 * need.amount, "")
        self.messages.append((self.home, question))

    async def start(self) -> None:
        user = self.random.choice(USERS)
        partition = self.partitions[self.setup.store.partition_of(user)]
        invoice = await self.setup.invoice(user, self.random.randint(1, 60))
        command = start_command(self.wallets[user], invoice, user)
        outcome = await partition.run(command)
        if outcome.code == LIMIT_SHORT:
            self.ask(user, outcome.details["slice"])
        elif outcome.code == "ok" and outcome.value is not None:
            self.waiting.append((user, outcome.value.id))

    async def confirm(self, waiting: tuple[str, str]) -> None:
        user, payment = waiting
        partition = self.partitions[self.setup.store.partition_of(user)]
        outcome = await partition.run(ConfirmPayment(new_id("op"), payment, user, RIGHT))
        self.met[f"confirm {outcome.code}"] += 1
        if outcome.code == LIMIT_SHORT:
            self.waiting.append(waiting)
            self.ask(user, outcome.details["slice"])
        elif outcome.code == "ok":
            self.debits.append(waiting)
            if self.ceiling is not None:
                used = await self.used()
                assert used <= self.ceiling, f"{used} of {self.ceiling} used, which all partitions know"

    async def give_back(self) -> None:
        _, payment = self.debits.pop(self.random.randrange(len(self.debits)))
        assert (await self.setup.complete(payment, "1", "given_back")).code == "ok"

    async def change_limit(self, limit: int) -> None:
        raises = self.limit is not None and limit > self.limit
        await self.home.run(SetLimit(operation(), "EUR", limit))
        if raises and self.ceiling is not None:
            self.ceiling = max(self.ceiling, limit)
        self.limit = self.pending = limit

    async def spread(self) -> None:
        """Send the limit to all partitions, or learn that all of them have it."""
        outcome = await self.home.run(SpreadLimit(NAME, len(self.partitions)))
        mode, epoch, limit, period, *granted = outcome.value or [""] * 4
        if outcome.code == "done":
            if self.pending is not None:
                self.ceiling, self.pending = self.pending, None
            return
        part, state = Slice("global", "EUR", period), LimitState(mode, epoch, limit)
        for partition, total in zip(self.partitions, granted, strict=True):
            self.messages.append((partition, RecallSlice(part, state, total)))

    async def used(self) -> int:
        client = client_of(self.setup.store)
        found = [await client.hget(each.keys.key("limit", NAME), self.period) for each in self.partitions]
        return sum(int(used or 0) for used in found)


@pytest.mark.parametrize(
    ("seed", "server"), [*((seed, "valkey") for seed in range(4)), (4, "redis"), (5, "cluster")]
)
async def test_no_order_of_messages_passes_a_limit(
    request: pytest.FixtureRequest, namespace: str, monkeypatch: pytest.MonkeyPatch, seed: int, server: str
) -> None:
    monkeypatch.setattr(placed_keys, "PARTITIONS", 4)
    url = request.getfixturevalue(f"{server}_url")
    async with RedisStore.connect(url, initialise=True, namespace=namespace, partitions=4) as store:
        soup = Soup(Setup(store), seed)
        await soup.begin()
        for _ in range(STEPS):
            await soup.step()
        await assert_clean(store)
    assert {"confirm ok", f"confirm {LIMIT_SHORT}", "AskSlice ok", "RecallSlice ok"} <= set(soup.met), soup.met
