"""Payments."""

from technopay.engine import Engine, Payment, SettlementFailed
from technopay.engine.fields import Code
from technopay.http.api.fields import PAYMENT_FILTERS, REFUND_AMOUNT, REFUND_NOTE
from technopay.http.api.route import Call, Route
from technopay.http.auth.tokens import ADMIN, PAYMENTS
from technopay.http.problems import RETRY_AFTER_S
from technopay.http.responses import Response, record_response


async def confirm_payment(
    call: Call, *, user_id: str, payment_id: str, code: Code, wait_s: float = 4.0
) -> Response:
    """Confirm, then wait as one of the server's waits; 202 if the settlement takes longer."""
    payment = await call.engine.confirm_payment(user_id=user_id, payment_id=payment_id, code=code, wait_s=0)
    replayed = payment.replayed
    payment, _ = await call.wait_for_rest(payment, wait_s)
    if payment.status == "failed":
        raise SettlementFailed(payment=payment, replayed=replayed)
    if replayed:
        payment = payment.as_replay()
    if payment.status != "processing":
        return record_response(payment, Payment)
    pending = {"Location": f"{call.mount}/v1/payments/{payment.id}", "Retry-After": RETRY_AFTER_S}
    return record_response(payment, Payment, status=202, headers=pending)


async def get_payment(call: Call, *, user_id: str, payment_id: str, wait_s: float = 0.0) -> Response:
    """Read, then wait as one of the server's waits."""
    payment = await call.engine.get_payment(user_id=user_id, payment_id=payment_id)
    payment, headers = await call.wait_for_rest(payment, wait_s)
    return record_response(payment, Payment, headers=headers)


PAYMENT_ROUTES = (
    # The most frequent ones first: aiohttp's router tries the paths of one prefix in this order.
    Route(
        "POST", "/v1/payments", PAYMENTS, Engine.start_payment, status=201,
        description="An unconfirmed payment of the same invoice is canceled, and its code is no longer valid.",
    ),
    Route(
        "GET", "/v1/payments/{payment_id}", PAYMENTS, Engine.get_payment, get_payment,
        description="With `wait`, the response comes as soon as the payment is final or set aside, or after "
        "that time; at once and with `Retry-After` while too many requests wait.",
    ),
    Route(
        "POST", "/v1/payments/{payment_id}/confirm", PAYMENTS, Engine.confirm_payment, confirm_payment,
        also=(202,), body_name="ConfirmBody",
        description="A wrong code costs an attempt. A refusal for funds or limit does not: confirm again.",
    ),
    Route(
        "POST", "/v1/payments/{payment_id}/resend", PAYMENTS, Engine.resend_code,
        description="The previous code is no longer valid. The attempts stay the same; at most three times.",
    ),
    Route(
        "POST", "/v1/payments/{payment_id}/cancel", PAYMENTS, Engine.cancel_payment,
        description="Its code is no longer valid. The invoice stays open.",
    ),
    Route("GET", "/v1/payments", PAYMENTS, Engine.list_payments),
    Route(
        "GET", "/v1/admin/payments", ADMIN, Engine.search_payments, fields=PAYMENT_FILTERS,
        description="`from` and `to` are times of creation, `to` is the first one that is not listed.",
    ),
    Route("GET", "/v1/admin/payments/{payment_id}", ADMIN, Engine.find_payment),
    Route(
        "POST", "/v1/admin/payments/{payment_id}/refund", ADMIN, Engine.refund_payment,
        description="The amount, or all that is left, goes back into the wallet. The invoice stays paid. If "
        "the settlement service declines, the payment is `succeeded` again, and can be refunded later.",
        fields={"amount": REFUND_AMOUNT, "note": REFUND_NOTE}, body_name="RefundBody",
    ),
    Route(
        "POST", "/v1/admin/payments/{payment_id}/resolve", ADMIN, Engine.resolve_payment,
        body_name="ResolveBody",
        description="For a payment whose settlement is unknown, after a look at where the money is.",
    ),
)  # fmt: skip
