"""The operations of a payment that run through its wallet's actor."""

from dataclasses import replace
from typing import cast

from technopay.engine.commands import BeginRefund, CancelPayment, ConfirmPayment, ResendCode, StartPayment
from technopay.engine.errors import SettlementFailed, StoreUnavailable
from technopay.engine.fields import id_or_unknown, normalise_code
from technopay.engine.models import Method, OperatorPayment, Payment
from technopay.engine.ports import Outcome
from technopay.engine.reads import FindPayment, ReadInvoice, ReadPayment
from technopay.engine.runtime import Runtime, unwrap
from technopay.engine.values import Operation, PaymentTerms
from technopay.engine.verifiers.second_step import KEY_UNKNOWN, PaymentRoute

REFUND_WAIT_S = 4.0
CODES_UNREACHED = 1_000_000_000
"""A limit that is never reached: the relay takes the count back if no code is sent."""
NO_CHANNEL = "none"
"""A method without a channel in this engine; the store refuses it after every earlier rule."""


def named(runtime: Runtime, name: str, user_id: str, payment_id: str, key: str | None) -> Operation:
    """Return the identity of a call on a payment; the payment is its record."""
    return runtime.operation(name, (user_id, payment_id), key, [], recorded=False)


async def start(
    runtime: Runtime, called: Operation, user_id: str, wallet_id: str, invoice_id: str, method: Method | None
) -> Payment:
    settings = runtime.settings
    command = StartPayment(
        operation=called,
        payment_id=runtime.ids.new("pay", runtime.store.partition_of(user_id)),
        user_id=user_id,
        wallet_id=id_or_unknown(wallet_id),
        invoice_id=id_or_unknown(invoice_id),
        method=_method(runtime, method),
        key_id=runtime.keys.current,
        code_lifetime_ms=settings.code_lifetime_s * 1000,
        attempts=settings.code_attempts,
        resends=settings.code_resends,
        codes_per_hour=settings.codes_per_hour or None,
        failures_per_day=settings.failures_per_day or None,
    )
    mailbox = await runtime.owners.mailbox_for(command)
    payment = unwrap(await _send_code(runtime, mailbox, command, None))
    runtime.owners.note(payment.wallet_id, user_id)
    return payment


async def confirm(runtime: Runtime, user_id: str, payment_id: str, code: str, wait_s: float) -> Payment:
    settings = runtime.settings
    route = await route_of(runtime, payment_id, user_id)
    command = ConfirmPayment(
        operation_id=runtime.new_call(),
        payment_id=payment_id,
        user_id=user_id,
        evidence=await runtime.second_step.evidence(route, normalise_code(code)),
        confirms_per_minute=settings.confirms_per_minute or None,
        failures_per_day=settings.failures_per_day or None,
    )
    outcome = await runtime.directory.run(route.wallet_id, command, runtime.following())
    if outcome.code == "key_unknown":
        runtime.forget(payment_id)
        raise StoreUnavailable(KEY_UNKNOWN)
    payment = unwrap(outcome)
    if wait_s:
        payment = (await runtime.wait_for_rest(payment, wait_s)).for_user()
    if payment.status == "failed":
        raise SettlementFailed(payment=payment, replayed=outcome.replayed)
    return payment.as_replay() if outcome.replayed else payment


async def resend(runtime: Runtime, called: Operation, user_id: str, payment_id: str) -> Payment:
    settings = runtime.settings
    # Another user's payment is refused by the same read as one that does not exist.
    route = await route_of(runtime, payment_id, user_id)
    runtime.second_step.verifier_of(route)
    version = route.code.version + 1 if route.code else 1
    # Another resend can come first; their number is bounded.
    while True:
        command = ResendCode(
            operation=called,
            payment_id=payment_id,
            user_id=user_id,
            code_version=version,
            code_lifetime_ms=settings.code_lifetime_s * 1000,
            codes_per_hour=settings.codes_per_hour or None,
            failures_per_day=settings.failures_per_day or None,
        )
        outcome = await _send_code(runtime, route.wallet_id, command, route)
        if outcome.code != "code_version":
            return unwrap(outcome)
        version = outcome.details["code_version"] + 1


async def cancel(runtime: Runtime, called: Operation, user_id: str, payment_id: str) -> Payment:
    route = await route_of(runtime, payment_id, user_id)
    command = CancelPayment(called, payment_id, user_id)
    return unwrap(await runtime.directory.run(route.wallet_id, command, runtime.following()))


async def refund(runtime: Runtime, route: PaymentRoute, command: BeginRefund) -> OperatorPayment:
    outcome = await runtime.directory.run(route.wallet_id, command, runtime.following())
    begun = unwrap(outcome)
    payment = cast("OperatorPayment", await runtime.wait_for_rest(begun, REFUND_WAIT_S))
    return _after_refund(payment, begun).as_replay() if outcome.replayed else payment


def _after_refund(payment: OperatorPayment, begun: OperatorPayment) -> OperatorPayment:
    """Return a payment as it was after the refund that was begun: a replay must not show later ones."""
    refunds = payment.refunds[: len(begun.refunds)]
    if not refunds or len(refunds) == len(payment.refunds) or refunds[-1].id != begun.refunds[-1].id:
        return payment
    refunded = sum(each.amount for each in refunds if each.status == "done")
    resolution = payment.resolution
    changes = {
        "refunds": refunds,
        "refunded_amount": refunded,
        "status": "refunded" if refunded == payment.amount else "succeeded",
        "set_aside": False,
        "resolution": resolution if resolution and resolution.at <= refunds[-1].at else None,
    }
    return OperatorPayment.trusted(**payment.__dict__ | changes)


async def route_of(runtime: Runtime, payment_id: str, user_id: str | None) -> PaymentRoute:
    """Return the wallet of a payment and the terms of its codes."""
    route = runtime.route(payment_id, user_id)
    if route is None:
        known_id = id_or_unknown(payment_id)
        read = FindPayment(known_id) if user_id is None else ReadPayment(known_id, user_id)
        found = await runtime.store.run(read)
        route = runtime.remember(unwrap(found))
    return route


async def _send_code(
    runtime: Runtime, mailbox: str, command: StartPayment | ResendCode, route: PaymentRoute | None
) -> Outcome[Payment]:
    """Start or resend. The limit of codes refuses only a code that would be sent."""
    directory, follow = runtime.directory, runtime.following()
    outcome = await directory.run(mailbox, command, follow)
    is_too_many = runtime.keys.is_own and outcome.details.get("too_many") == "codes"
    if is_too_many and await _sends_none(runtime, command, route):
        outcome = await directory.run(mailbox, replace(command, codes_per_hour=CODES_UNREACHED), follow)
    return outcome


async def _sends_none(runtime: Runtime, command: StartPayment | ResendCode, route: PaymentRoute | None) -> bool:
    if isinstance(command, ResendCode):
        assert route is not None, "a resend is of a known payment"
        return await runtime.second_step.sends_none(route.terms, command.code_version, route)
    invoice = unwrap(await runtime.store.run(ReadInvoice(command.invoice_id, command.user_id)))
    terms = PaymentTerms(command.payment_id, invoice.amount, invoice.currency, invoice.merchant)
    return await runtime.second_step.sends_none(terms, 1)


def _method(runtime: Runtime, method: Method | None) -> str:
    """Return the method for the script: '' is the first that the user has."""
    channels = runtime.channels
    if method is None:
        return "" if len(channels) > 1 else next(iter(channels), NO_CHANNEL)
    return method if method in channels else NO_CHANNEL
