"""Operations on payments."""

from typing import Literal

from technopay.engine import fields, payment_flows
from technopay.engine.commands import BeginRefund, ResolvePayment
from technopay.engine.fields import (
    Amount,
    Code,
    Key,
    Name,
    Note,
    PageLimit,
    PaymentCursor,
    Time,
    UserId,
    WaitSeconds,
    id_or_unknown,
    nfc,
    partition_in,
)
from technopay.engine.models import Method, OperatorPayment, Payment, PaymentStatus
from technopay.engine.operation import operation
from technopay.engine.reads import FindPayment, ListPayments, ReadPayment, SearchPayments
from technopay.engine.record import Page, to_bound_ms
from technopay.engine.runtime import Runtime, unwrap


@operation(
    "user_not_found wallet_not_found invoice_not_found user_blocked wallet_inactive "
    "invoice_already_paid invoice_not_payable payment_in_progress currency_mismatch invoice_expired "
    "no_channel insufficient_funds daily_limit_exceeded balance_too_large rate_limited "
    "idempotency_key_reused validation_failed"
    " archive_unavailable"
)
async def start_payment(
    runtime: Runtime, *, user_id: UserId, invoice_id: str, wallet_id: str, method: Method | None = None,
    idempotency_key: Key = None
) -> Payment:  # fmt: skip
    """Start a payment of an invoice, and send the user a code. Nothing is deducted."""
    called = runtime.operation(
        "start", (user_id,), idempotency_key, [invoice_id, wallet_id, method], recorded=False
    )
    return await payment_flows.start(runtime, called, user_id, wallet_id, invoice_id, method)


@operation(
    "settlement_failed payment_not_found user_blocked wallet_inactive payment_not_confirmable "
    "confirmation_expired invoice_expired rate_limited confirmation_invalid insufficient_funds "
    "daily_limit_exceeded balance_too_large validation_failed"
    " archive_unavailable"
)
async def confirm_payment(
    runtime: Runtime, *, user_id: UserId, payment_id: str, code: Code, wait_s: WaitSeconds = 4.0
) -> Payment:
    """Confirm a payment with its code, take the money, and wait for the settlement.

    Returns the payment 'succeeded', or 'processing' when the wait ran out. SettlementFailed: the money is
    back in the wallet.
    """
    return await payment_flows.confirm(runtime, user_id, payment_id, code, wait_s)


@operation(
    "payment_not_found user_blocked wallet_inactive payment_not_confirmable confirmation_expired "
    "invoice_expired no_channel rate_limited idempotency_key_reused validation_failed"
    " archive_unavailable"
)
async def resend_code(
    runtime: Runtime, *, user_id: UserId, payment_id: str, idempotency_key: Key = None
) -> Payment:
    """Send a new code with a new expiry. The old code is refused, the attempts stay."""
    called = payment_flows.named(runtime, "resend", user_id, payment_id, idempotency_key)
    return await payment_flows.resend(runtime, called, user_id, payment_id)


@operation(
    "payment_not_found payment_not_cancelable idempotency_key_reused validation_failed archive_unavailable"
)
async def cancel_payment(
    runtime: Runtime, *, user_id: UserId, payment_id: str, idempotency_key: Key = None
) -> Payment:
    """Cancel a payment that waits for its code."""
    called = payment_flows.named(runtime, "cancel", user_id, payment_id, idempotency_key)
    return await payment_flows.cancel(runtime, called, user_id, payment_id)


@operation("payment_not_found validation_failed archive_unavailable")
async def get_payment(
    runtime: Runtime, *, user_id: UserId, payment_id: str, wait_s: WaitSeconds = 0.0
) -> Payment:
    """Read a payment; with a wait, once it is final or set aside, or the wait is over."""
    payment = await runtime.value_of(ReadPayment(id_or_unknown(payment_id), user_id))
    return (await runtime.wait_for_rest(payment, wait_s)).for_user() if wait_s else payment


@operation("validation_failed archive_unavailable")
async def list_payments(
    runtime: Runtime, *, user_id: UserId, limit: PageLimit = 20, cursor: PaymentCursor = ""
) -> Page[Payment]:
    """List a user's payments, newest first."""
    return await runtime.value_of(ListPayments(user_id, cursor, limit))


@operation("payment_not_found archive_unavailable")
async def find_payment(runtime: Runtime, *, payment_id: str) -> OperatorPayment:
    """Read a payment of any user."""
    return await runtime.value_of(FindPayment(id_or_unknown(payment_id)))


@operation("validation_failed archive_unavailable")
async def search_payments(
    runtime: Runtime, *, status: PaymentStatus | None = None, user_id: UserId | None = None,
    set_aside: bool | None = None, invoice_id: str | None = None, created_from: Time | None = None,
    created_to: Time | None = None, limit: PageLimit = 20, cursor: str = ""
) -> Page[OperatorPayment]:  # fmt: skip
    """List payments of all users, newest first. A page can be short while there is a next one.

    `created_from` is the first time of creation that is listed, `created_to` the first one that is not.
    """
    is_indexed = set_aside or user_id is not None or invoice_id is not None
    form = fields.PAYMENT_CURSOR if is_indexed else fields.JOURNAL_CURSOR
    fields.require(
        [
            ("cursor", fields.cursor_error(cursor, form)),
            ("to", fields.range_error(created_from, created_to)),
        ]
    )
    invoice_id = None if invoice_id is None else id_or_unknown(invoice_id)
    times = to_bound_ms(created_from), to_bound_ms(created_to)
    command = SearchPayments(status, user_id, set_aside, cursor, limit, invoice_id, *times)
    return await runtime.value_of(command)


@operation(
    "payment_not_found payment_not_refundable refund_in_progress refund_too_large balance_too_large "
    "idempotency_key_reused validation_failed"
    " archive_unavailable"
)
async def refund_payment(
    runtime: Runtime, *, payment_id: str, amount: Amount | None = None, note: Note | None = None,
    by: Name | None = None, idempotency_key: Key = None
) -> OperatorPayment:  # fmt: skip
    """Refund a succeeded payment or a part of it: reverse it, then credit the wallet. The invoice stays paid.

    Without an amount, all that is left is refunded. Refunds are done one at a time. Returns the payment
    'refunded', 'succeeded' while something is left or when the settlement service declined the reversal (it can
    be refunded again later), or 'refunding' when the service takes its time.
    """
    given = [amount, note] if (amount, note) != (None, None) else []
    called = runtime.operation("refund", (payment_id,), idempotency_key, given)
    route = await payment_flows.route_of(runtime, payment_id, None)
    refund_id = runtime.ids.new("ref", partition_in(payment_id))
    command = BeginRefund(called, payment_id, refund_id, amount, nfc(note), nfc(by))
    return await payment_flows.refund(runtime, route, command)


@operation(
    "payment_not_found payment_not_resolvable idempotency_key_reused validation_failed archive_unavailable"
)
async def resolve_payment(
    runtime: Runtime, *, payment_id: str, outcome: Literal["settled", "refund"], note: Note, by: Name,
    idempotency_key: Key = None
) -> OperatorPayment:  # fmt: skip
    """Decide a payment that was set aside; `by` is the operator.

    A payment in 'refunding' is credited by 'refund', and succeeded again, its refund failed, by 'settled'.
    """
    called = runtime.operation("resolve", (payment_id,), idempotency_key, [outcome, note])
    command = ResolvePayment(called, id_or_unknown(payment_id), outcome, nfc(note), nfc(by))
    return unwrap(await runtime.run(command, runtime.following()))
