"""The end of a debit: settled, given back, refunded, set aside, decided by an operator; and old claims."""

import pytest
from support.fixtures.audit import assert_clean
from support.fixtures.dumps import dump
from support.fixtures.store_commands import list_entries, renew_claims, set_aside, take_due
from support.fixtures.store_setup import AMOUNT_MAX, DAY_MS, KEY_ID, Setup, operation, value_of

from technopay.engine.claims import CLAIM_S
from technopay.engine.commands import ResolvePayment
from technopay.engine.reads import SearchPayments
from technopay.engine.values import ClaimKind, Lease, PaymentTerms, Verdict

pytestmark = pytest.mark.any_partition


LONG_AGO = "2020-02-29"


async def test_settled_pays_the_invoice_and_nothing_can_come_back_any_more(setup: Setup) -> None:
    wallet = await setup.wallet(balance=10_000)
    payment_id, claim = await setup.processing(wallet)
    before = await setup.journal()

    outcome = await setup.complete(payment_id, claim, "settled")

    assert outcome.code == "ok"
    payment = await setup.payment(payment_id)
    assert (payment.status, payment.refunds) == ("succeeded", [])
    # The engine already has the rest of the payment.
    assert (outcome.value, outcome.details) == (None, {"settled_at": payment.settled_at})
    assert payment.settled_at is not None
    assert await setup.money(wallet) == (9_000, 0)
    invoice = await setup.read_invoice(payment.invoice_id)
    assert (invoice.status, invoice.payment_id, invoice.paid_at) == ("paid", payment_id, payment.paid_at)
    assert await setup.due_at(payment_id) is None
    assert await setup.news(before) == [("payment.succeeded", {"payment": payment_id, "version": "3"})]
    assert len(value_of(await list_entries(setup.store, wallet, None, "", 10)).data) == 2


async def test_given_back_puts_the_amount_the_limit_and_the_invoice_back(setup: Setup) -> None:
    await setup.set_limit("EUR", 5_000)
    wallet = await setup.wallet(balance=10_000)
    payment_id, claim = await setup.processing(wallet)
    day = await setup.day(payment_id)
    before = await setup.journal()

    outcome = await setup.complete(payment_id, claim, "given_back")

    assert outcome.code == "ok"
    payment = value_of(outcome)
    assert (payment.status, payment.failure and payment.failure.code) == ("failed", "settlement_failed")
    assert [(refund.amount, refund.reason) for refund in payment.refunds] == [(1_000, "settlement_failed")]
    assert await setup.money(wallet) == (10_000, 0)
    assert (await setup.limit()).used == 0
    assert "payment" not in await setup.fields("invoice", payment.invoice_id)
    invoice = await setup.read_invoice(payment.invoice_id)
    assert (invoice.status, invoice.payment_id, invoice.paid_at) == ("open", None, None)
    assert await setup.due_at(payment_id) is None
    assert await setup.news(before) == [
        (
            "payment.failed",
            {
                "payment": payment_id, "version": "3", "wallet": wallet, "amount": "1000", "balance": "10000",
                "reason": "settlement_failed", "global_period": day,
            },
        )
    ]  # fmt: skip
    entries = value_of(await list_entries(setup.store, wallet, None, "", 10))
    assert [(entry.kind, entry.amount, entry.balance_after) for entry in entries.data] == [
        ("refund", 1_000, 10_000), ("payment", -1_000, 9_000), ("deposit", 10_000, 10_000),
    ]  # fmt: skip
    assert (await setup.start(wallet, payment.invoice_id)).code == "ok"


async def test_money_comes_back_to_an_inactive_wallet_of_a_blocked_user_past_another_lease(
    setup: Setup,
) -> None:
    wallet = await setup.wallet()
    payment_id, claim = await setup.processing(wallet)
    await setup.set_wallet_status(wallet, "inactive", Lease("owner-b", "", keep=True))
    await setup.set_user_status("blocked")
    assert (await setup.complete(payment_id, claim, "given_back")).code == "ok"
    assert await setup.money(wallet) == (10_000, 0)


@pytest.mark.corrupts
async def test_the_limit_is_given_back_to_the_day_that_was_charged(setup: Setup) -> None:
    payment_id, claim = await setup.processing(await setup.wallet())
    today = await setup.day(payment_id)
    await setup.write("limit", "global:EUR", **{LONG_AGO: 7_000})
    await setup.write("payment", payment_id, global_period=LONG_AGO)
    await setup.complete(payment_id, claim, "given_back")
    limit = await setup.counter()
    assert (limit[LONG_AGO], limit[today]) == ("6000", "1000")


@pytest.mark.parametrize("verdict", ["settled", "given_back"])
async def test_an_old_claim_changes_nothing(setup: Setup, verdict: Verdict) -> None:
    payment_id, old = await setup.processing(await setup.wallet())
    await setup.make_due(payment_id)
    (taken,) = (await take_due(setup.store, 10)).payments
    assert taken.claim != old
    before = await dump(setup.store)

    assert (await setup.complete(payment_id, old, verdict)).code == "claim_lost"
    assert not await set_aside(setup.store, payment_id, old, 15_000)
    assert (await setup.complete("pay_00none", old, verdict)).code == "payment_not_found"
    claims: list[tuple[ClaimKind, str, str]] = [("payment", payment_id, old), ("payment", "pay_00none", old)]
    for keep in (True, False):
        assert await renew_claims(setup.store, claims, keep=keep) == [False, False]

    assert await dump(setup.store) == before
    assert (await setup.complete(payment_id, taken.claim, verdict)).code == "ok"


@pytest.mark.parametrize(("done", "again"), [("settled", "given_back"), ("given_back", "settled")])
async def test_a_verdict_of_the_service_is_final(setup: Setup, done: Verdict, again: Verdict) -> None:
    payment_id, claim = await setup.processing(await setup.wallet())
    assert (await setup.complete(payment_id, claim, done)).code == "ok"
    before = await dump(setup.store)
    assert (await setup.complete(payment_id, claim, done)).code == "ok"
    assert (await setup.complete(payment_id, claim, again)).code == "claim_lost"
    assert (await setup.complete(payment_id, claim, "reversed")).code == "claim_lost"
    assert not await set_aside(setup.store, payment_id, claim, 0)
    assert await renew_claims(setup.store, [("payment", payment_id, claim)], keep=True) == [False]
    assert await dump(setup.store) == before


async def test_a_settlements_claim_is_worth_nothing_in_the_refund(setup: Setup) -> None:
    payment_id, old = await setup.processing(await setup.wallet())
    await setup.complete(payment_id, old, "settled")
    begun = await setup.begin_refund(payment_id)
    assert int(begun.details["claim"]) > int(old)
    before = await dump(setup.store)
    assert not await set_aside(setup.store, payment_id, old, 0)
    assert (await setup.complete(payment_id, old, "reversed")).code == "claim_lost"
    assert (await setup.complete(payment_id, old, "given_back")).code == "claim_lost"
    assert await dump(setup.store) == before


async def test_a_claim_is_renewed_and_given_up(setup: Setup) -> None:
    payment_id, claim = await setup.processing(await setup.wallet())
    await setup.make_due(payment_id)
    now_ms = await setup.now_ms()
    assert await renew_claims(setup.store, [("payment", payment_id, claim)], keep=True) == [True]
    assert (await setup.due_at(payment_id) or 0) >= now_ms + 1_000 * CLAIM_S["payment"]
    assert (await take_due(setup.store, 10)).payments == []
    assert await renew_claims(setup.store, [("payment", payment_id, claim)], keep=False) == [True]
    assert [taken.payment.id for taken in (await take_due(setup.store, 10)).payments] == [payment_id]


async def test_a_payment_set_aside_is_visible_still_asked_for_and_said_once(setup: Setup) -> None:
    wallet = await setup.wallet()
    payment_id, claim = await setup.processing(wallet)
    before = await setup.journal()
    for _ in range(2):
        assert await set_aside(setup.store, payment_id, claim, 15_000)
    assert (await setup.payment(payment_id)).set_aside
    assert await setup.due_at(payment_id) is not None
    assert await setup.news(before) == [("payment.set_aside", {"payment": payment_id, "version": "3"})]
    search = SearchPayments(None, None, True, "", 10)
    assert [payment.id for payment in (await setup.done(search)).data] == [payment_id]
    await setup.complete(payment_id, claim, "settled")
    assert not (await setup.payment(payment_id)).set_aside
    assert (await setup.done(search)).data == []


@pytest.mark.parametrize(
    ("begin", "verdict", "status", "money"),
    [
        ("processing", "settled", "succeeded", (9_000, 0)),
        ("processing", "refund", "failed", (10_000, 0)),
        ("refunding", "settled", "succeeded", (9_000, 0)),
        ("refunding", "refund", "refunded", (10_000, 0)),
    ],
)
async def test_an_operator_decides_a_payment_that_was_set_aside(
    setup: Setup, begin: str, verdict: str, status: str, money: tuple[int, int]
) -> None:
    wallet = await setup.wallet(balance=10_000)
    payment_id, claim = await getattr(setup, begin)(wallet)
    assert await set_aside(setup.store, payment_id, claim, 15_000)
    before = await setup.journal()

    payment = await setup.done(ResolvePayment(operation(), payment_id, verdict, "they said so", "root"))

    assert payment == await setup.operator_payment(payment_id)
    assert (payment.status, payment.set_aside) == (status, False)
    made = payment.resolution
    assert made is not None
    assert (made.outcome, made.note, made.by) == (verdict, "they said so", "root")
    assert await setup.money(wallet) == money
    assert await setup.due_at(payment_id) is None
    version = "4" if begin == "processing" else "6"
    news = await setup.news(before)
    if status == "succeeded" and begin == "refunding":
        assert news.pop(0) == (
            "payment.refund_failed",
            {"payment": payment_id, "version": version, "refund": "ref_001"},
        )
        version = "7"
    assert news[0] == ("payment.resolved", {"payment": payment_id, "version": version, "outcome": verdict})
    assert (await setup.complete(payment_id, claim, "reversed")).code == (
        "ok" if status == "refunded" else "claim_lost"
    )
    await assert_clean(setup.store)
    assert await setup.money(wallet) == money


async def test_a_refund_is_begun_then_credited_and_the_limit_and_the_invoice_stay_as_they_are(
    setup: Setup,
) -> None:
    await setup.set_limit("EUR", 5_000)
    wallet = await setup.wallet(balance=10_000)
    payment_id = await setup.succeeded(wallet)
    before = await setup.journal()

    begun = await setup.begin_refund(payment_id)

    assert (begun.code, value_of(begun).status) == ("ok", "refunding")
    assert await setup.money(wallet) == (9_000, 1_000)
    assert await setup.due_at(payment_id) is not None
    invoice = await setup.read_invoice(value_of(begun).invoice_id)
    assert (invoice.status, invoice.refunded_amount) == ("paid", 0)
    again = await setup.begin_refund(payment_id)
    assert (again.code, dict(again.details)) == ("ok", {})

    done = value_of(await setup.complete(payment_id, begun.details["claim"], "reversed"))

    assert done.status == "refunded"
    assert [(refund.amount, refund.reason) for refund in done.refunds] == [(1_000, "requested_by_operator")]
    assert await setup.money(wallet) == (10_000, 0)
    assert (await setup.limit()).used == 1_000
    invoice = await setup.read_invoice(done.invoice_id)
    assert (invoice.status, invoice.refunded_amount) == ("paid", 1_000)
    assert [kind for kind, _ in await setup.news(before)] == ["payment.refunding", "payment.refunded"]
    assert (await setup.start(wallet, done.invoice_id)).code == "invoice_already_paid"
    assert (await setup.confirm(payment_id)).code == "payment_not_confirmable"


async def test_a_refund_has_to_fit_into_the_wallet(setup: Setup) -> None:
    wallet = await setup.wallet(balance=1_000)
    payment_id = await setup.succeeded(wallet, 1_000)
    await setup.deposit(wallet, AMOUNT_MAX - 999)
    before = await dump(setup.store)
    assert (await setup.begin_refund(payment_id)).code == "balance_too_large"
    assert await dump(setup.store) == before
    await setup.processing(wallet, 1)
    assert (await setup.begin_refund(payment_id)).code == "balance_too_large"


async def test_a_payment_given_back_after_its_invoice_expired_leaves_an_expired_invoice(setup: Setup) -> None:
    payment_id, claim = await setup.processing(await setup.wallet())
    invoice_id = (await setup.payment(payment_id)).invoice_id
    await setup.write("invoice", invoice_id, expires_at=await setup.now_ms() - DAY_MS)
    await setup.complete(payment_id, claim, "given_back")
    assert (await setup.read_invoice(invoice_id)).status == "expired"


async def test_a_context_has_the_addresses_and_the_number_of_the_code(setup: Setup) -> None:
    await setup.user("bob", email="bob@example.com", phone="+15550100")
    payment_id = await setup.started(await setup.wallet("bob"), await setup.invoice("bob"), "bob")
    await setup.resend(payment_id, user_id="bob")
    context = await setup.context(payment_id)
    assert context is not None
    assert (context.email, context.phone, context.code_version) == ("bob@example.com", "+15550100", 2)
    assert (context.payment_id, context.user_id) == (payment_id, "bob")
    assert context.terms == PaymentTerms(payment_id, 1_000, "EUR", "Shop")
    assert (context.status, context.method, context.key_id) == ("requires_confirmation", "email", KEY_ID)
    assert await setup.context("pay_00none") is None
    ended = await setup.context(await setup.succeeded(await setup.wallet()))
    assert ended is not None
    assert (ended.status, ended.method, ended.code_version) == ("succeeded", None, None)
    assert (ended.email, ended.phone) == ("alice@example.com", None)
