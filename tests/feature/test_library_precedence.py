"""If several rules refuse, the first one in the contract's order is the refusal: the whole chain, rule by rule.

Each test makes one rule refuse together with every rule behind it.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from support.fixtures.audit import assert_clean
from support.fixtures.clock import FakeClock
from support.fixtures.engine_setup import Setup, make_setup, other_than, quick_settings
from support.fixtures.placed_keys import PlacedKeys
from support.fixtures.store_setup import client_of

from technopay.engine import (
    SILENCE,
    Engine,
    Invoice,
    Payment,
    RateLimited,
    Refusal,
    ScriptedSettlementService,
)
from technopay.engine.commands import CompletePayment
from technopay.storage import RedisStore

START = [
    "validation_failed",
    "idempotency_key_reused",
    "user_not_found",
    "wallet_not_found",
    "invoice_not_found",
    "user_blocked",
    "locked_out",
    "wallet_inactive",
    "invoice_already_paid",
    "invoice_not_payable",
    "payment_in_progress",
    "currency_mismatch",
    "invoice_expired",
    "no_channel",
    "insufficient_funds",
    "daily_limit_exceeded",
    "rate_limited",
]
"""An invoice is paid, void or being paid: of these three only one holds at a time."""
INVOICE_STATES = {"invoice_already_paid", "invoice_not_payable", "payment_in_progress"}
CONFIRM = [
    "validation_failed",
    "payment_not_found",
    "user_blocked",
    "locked_out",
    "wallet_inactive",
    "payment_not_confirmable",
    "confirmation_expired",
    "invoice_expired",
    "rate_limited",
    "confirmation_invalid",
    "insufficient_funds",
    "daily_limit_exceeded",
]
RESEND = [*CONFIRM[:8], "rate_limited"]
MOST = 1_000


@dataclass(slots=True)
class Situation:
    """A user about to pay, and the state of every refusal of that."""

    alice: Setup
    clock: FakeClock
    invoice: Invoice
    payment: Payment
    arguments: dict[str, Any]

    async def spoil_start(self, rule: str) -> None:  # noqa: C901
        """Make one rule refuse the start."""
        engine, arguments = self.alice.engine, self.arguments
        match rule:
            case "rate_limited":
                await self.fill("codes")
            case "daily_limit_exceeded":
                await engine.set_limit(currency="EUR", amount=0)
            case "insufficient_funds":
                poor = await engine.create_wallet(user_id="alice", currency="EUR")
                arguments["wallet_id"] = poor.id
            case "no_channel":
                arguments["method"] = "sms"
            case "invoice_expired":
                self.clock.advance(3_610_000)
            case "currency_mismatch":
                other = await engine.create_wallet(user_id="alice", currency="JPY")
                arguments["wallet_id"] = other.id
            case "wallet_inactive":
                await engine.deactivate_wallet(wallet_id=arguments["wallet_id"])
            case "locked_out":
                await self.fill("failures")
            case "user_blocked":
                await engine.block_user(user_id="alice")
            case "invoice_not_found":
                arguments["invoice_id"] = "inv_00unknown"
            case "wallet_not_found":
                arguments["wallet_id"] = "wal_00unknown"
            case "user_not_found":
                arguments["user_id"] = "nobody"
            case "idempotency_key_reused":
                arguments |= {"user_id": "alice", "idempotency_key": "used"}
            case "validation_failed":
                arguments["method"] = "pigeon"

    async def fill(self, window: str) -> None:
        """Use up one of the user's limits on behaviour."""
        store = self.alice.store
        assert isinstance(store, RedisStore)
        full = {window: f"{self.clock.now_ms + 60_000} {MOST}"}
        await client_of(store).hset(PlacedKeys.of(store).key("user", "alice"), mapping=full)

    async def spoil_invoice(self, rule: str) -> None:
        """Bring the invoice into the state of a rule; every other record has to be in order."""
        if rule == "invoice_not_payable":
            await self.alice.engine.void_invoice(invoice_id=self.invoice.id)
        elif rule in INVOICE_STATES:
            await self.alice.confirm(self.payment, wait_s=0)
        if rule == "invoice_already_paid":
            completion = CompletePayment(self.payment.id, "1", "settled")
            await self.alice.store.run(completion)

    async def spoil_payment(self, rule: str) -> None:  # noqa: C901
        """Make one rule refuse the confirm or the resend."""
        engine, arguments = self.alice.engine, self.arguments
        match rule:
            case "daily_limit_exceeded":
                await engine.set_limit(currency="EUR", amount=0)
            case "insufficient_funds":
                await self.alice.confirm(await self.alice.start(await self.alice.invoice(9_000)), wait_s=0)
            case "rate_limited" if "code" in arguments:
                await self.fill("confirms")
            case "rate_limited":
                for _ in range(3):
                    await engine.resend_code(user_id="alice", payment_id=self.payment.id)
            case "confirmation_invalid":
                arguments["code"] = other_than(arguments["code"])
            case "invoice_expired":
                self.clock.advance(110_000)
            case "confirmation_expired":
                self.clock.advance(300_000)
            case "payment_not_confirmable":
                await engine.cancel_payment(user_id="alice", payment_id=self.payment.id)
            case "wallet_inactive":
                await engine.deactivate_wallet(wallet_id=self.alice.wallet_id)
            case "locked_out":
                await self.fill("failures")
            case "user_blocked":
                await engine.block_user(user_id="alice")
            case "payment_not_found":
                arguments["user_id"] = "bob"
            case "validation_failed":
                arguments |= {"code": ""} if "code" in arguments else {"idempotency_key": " "}


@pytest.fixture(params=[1, 4], ids=["alone", "partitioned"])
async def fake_store(request: pytest.FixtureRequest) -> AsyncIterator[RedisStore]:
    async with RedisStore.fake(partitions=request.param) as opened:
        yield opened
        await assert_clean(opened)


@pytest.fixture
async def situation(fake_store: RedisStore, fake_clock: FakeClock) -> AsyncIterator[Situation]:
    fake_clock.set(datetime.now(UTC))
    service = ScriptedSettlementService(settle=[SILENCE], status=[SILENCE])
    settings = quick_settings(
        settlement_timeout_s=5,
        settlement_silence_s=30,
        drain_s=0.01,
        agenda_interval_s=3_600,
        codes_per_hour=MOST,
        confirms_per_minute=MOST,
        failures_per_day=MOST,
    )
    async with Engine(fake_store, settings, settlement_service=service) as engine:
        alice = await make_setup(engine, fake_store)
        await engine.start_payment(
            user_id="alice",
            wallet_id=alice.wallet_id,
            invoice_id=(await alice.invoice(1)).id,
            idempotency_key="used",
        )
        invoice = await alice.invoice(2_500)
        arguments = {"user_id": "alice", "wallet_id": alice.wallet_id, "invoice_id": invoice.id}
        yield Situation(alice, fake_clock, invoice, await alice.start(invoice), arguments)


async def refusal_of(call: Any) -> str:
    with pytest.raises(Refusal) as refused:
        await call
    is_lock_out = isinstance(refused.value, RateLimited) and refused.value.too_many == "failures"
    return "locked_out" if is_lock_out else refused.value.code


@pytest.mark.parametrize("first", START)
async def test_the_first_rule_in_order_refuses_the_start(situation: Situation, first: str) -> None:
    await situation.spoil_invoice(first)
    for rule in reversed(START[START.index(first) :]):
        await situation.spoil_start(rule)

    code = await refusal_of(situation.alice.engine.start_payment(**situation.arguments))

    assert code == first


async def payment_behind(situation: Situation, chain: list[str], first: str) -> None:
    """Make a rule and all rules after it refuse, for a payment whose invoice expires before its code."""
    alice, rules = situation.alice, chain[chain.index(first) :]
    invoice = await alice.invoice(2_500, expires_in_s=100)
    situation.payment = await alice.start(invoice)
    situation.arguments = {"user_id": "alice", "payment_id": situation.payment.id}
    if chain is CONFIRM:
        situation.arguments["code"] = await alice.right_code(situation.payment)
    # Rules that need the payment alive, the user active or the wallet in order come first.
    for rule in ("insufficient_funds", "rate_limited", "payment_not_confirmable"):
        if rule in rules:
            await situation.spoil_payment(rule)
    for rule in reversed(rules):
        if rule not in ("insufficient_funds", "rate_limited", "payment_not_confirmable"):
            await situation.spoil_payment(rule)


@pytest.mark.parametrize(
    ("chain", "first"),
    [(chain, first) for chain in (CONFIRM, RESEND) for first in chain],
    ids=lambda value: value if isinstance(value, str) else "confirm" if value is CONFIRM else "resend",
)
async def test_the_first_rule_in_order_refuses_the_confirm_and_the_resend(
    situation: Situation, chain: list[str], first: str
) -> None:
    await payment_behind(situation, chain, first)
    engine = situation.alice.engine

    call = engine.confirm_payment if chain is CONFIRM else engine.resend_code
    assert await refusal_of(call(**situation.arguments)) == first


async def test_a_replay_comes_before_every_rule(situation: Situation) -> None:
    alice, clock = situation.alice, situation.clock
    engine = alice.engine
    start = {**situation.arguments, "idempotency_key": "mine"}
    started = await engine.start_payment(**start)
    resend = {"user_id": "alice", "payment_id": started.id, "idempotency_key": "mine"}
    resent = await engine.resend_code(**resend)
    code = await alice.right_code(started, issue=2)
    processing = await alice.confirm(started, code, wait_s=0)
    clock.advance(3_610_000)
    await engine.deactivate_wallet(wallet_id=alice.wallet_id)
    await engine.block_user(user_id="alice")
    await engine.set_limit(currency="EUR", amount=0)
    for window in ("codes", "confirms", "failures"):
        await situation.fill(window)

    for first, again in (
        (started, await engine.start_payment(**start)),
        (resent, await engine.resend_code(**resend)),
        (processing, await alice.confirm(started, code, wait_s=0)),
    ):
        assert (first.replayed, again.replayed) == (False, True)
        assert again.model_dump() == first.model_dump()
