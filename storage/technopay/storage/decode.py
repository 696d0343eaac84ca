"""Turns the replies of scripts into outcomes, by the type that a command returns."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar, cast

from technopay.engine.errors import InternalError
from technopay.engine.models import (
    ArchiveStatus,
    Invoice,
    Limit,
    Message,
    Method,
    OperatorPayment,
    Payment,
    Statement,
    Subject,
    User,
    Wallet,
)
from technopay.engine.ports import Outcome
from technopay.engine.record import Page, from_ms
from technopay.engine.statistics import UnreadableRecords
from technopay.engine.values import (
    Claimed,
    ClaimedMessage,
    Due,
    News,
    Notification,
    RefundTerms,
)
from technopay.engine.webhooks.models import Delivery, Endpoint, Endpoints, TakenDeliveries
from technopay.storage.business_days import Calendar
from technopay.storage.records import (
    SUBJECTS,
    UNREADABLE,
    entry_from,
    fields_of,
    id_of,
    invoice_from,
    limit_from,
    message_from,
    payment_from,
    readable_context_from,
    unreadable_message,
    user_from,
    wallet_from,
)
from technopay.storage.webhook_records import (
    claimed_delivery_from,
    delivery_from,
    endpoint_from,
)

logger = logging.getLogger(__name__)

Value = TypeVar("Value")
Raw = Sequence[Any]
"""As the result of a command: the parts of the reply as they are."""

NO_DETAILS: Mapping[str, Any] = {}
NUMBERS = ("required", "available", "attempts_remaining", "code_version", "refundable")
TEXTS = ("claim", "too_large", "invoice_id")
TIMES = ("settled_at", "locked_until")


LIMIT_SHORT = "limit_short"
"""The code of a start or a confirm that needs a slice of a limit; nothing happened."""


class SliceRequest(NamedTuple):
    """What a partition needs of a limit in a period: room for an amount, beside its totals."""

    rule: str
    currency: str
    period: str
    granted: str
    returned: str
    used: str
    amount: int

    @classmethod
    def of(cls, texts: Mapping[str, str]) -> "SliceRequest":
        named = {name: texts[f"slice_{name}"] for name in cls._fields}
        return cls(**named | {"amount": int(named["amount"])})  # type: ignore[arg-type]


class Reply(NamedTuple):
    """The reply of a script: a code, the store's time, a lease or claim token, and the rest."""

    code: str
    now_ms: int
    token: str
    body: Sequence[Any]

    @property
    def record(self) -> Any:
        return self.body[0] if self.body else None


@dataclass(frozen=True, slots=True)
class Context:
    """The parameters for decoding a reply."""

    now_ms: int
    partition: int
    calendar: Calendar
    unreadable: UnreadableRecords

    def each(
        self,
        kind: str,
        found: Iterable[Any],
        build: Callable[[Any], Value],
        name: Callable[[Any], str] = id_of,
    ) -> list[Value]:
        """Build many records; an unreadable one is noted and left out."""
        built = []
        for each in found:
            try:
                built.append(build(each))
            except UNREADABLE as error:
                self.unreadable.note(kind, name(each), error)
        return built

    def payment(self, view: Any) -> Payment:
        return payment_from(Payment, view, self.now_ms, self.calendar)

    def operator_payment(self, view: Any) -> OperatorPayment:
        return payment_from(OperatorPayment, view, self.now_ms, self.calendar)

    def invoice(self, record: Any) -> Invoice:
        return invoice_from(record, self.now_ms)

    def subject(self, build: Callable[[Any, int, Calendar], Subject], record: Any) -> Subject:
        return build(record, self.now_ms, self.calendar)

    def message(self, record: Any) -> Message:
        return message_from(record, self.partition)

    def listed_message(self, record: Any) -> Message:
        """Build a message; an unreadable one is shown as dead."""
        try:
            return self.message(record)
        except UNREADABLE as error:
            self.unreadable.note("message", record[0], error)
            return unreadable_message(record, self.partition)


def outcome_of(
    result: Any, reply: Reply, partition: int, calendar: Calendar, unreadable: UnreadableRecords
) -> Outcome[Any]:
    """Turn a reply into an outcome; a replayed one has the code 'ok', too.

    Raises:
        InternalError: the record cannot be read.

    """
    context = Context(reply.now_ms, partition, calendar, unreadable)
    is_replayed = reply.code == "replayed"
    value = None
    if reply.body and (reply.code in ("ok", "replayed") or reply.record):
        try:
            value = DECODERS[result](reply.body, context)
        except UNREADABLE as error:
            logger.error("%.200r cannot be read", id_of(reply.record))
            raise InternalError from error
    details = _details_of(result, reply, context)
    if is_replayed:
        return Outcome("ok", value, details, replayed=True)
    return Outcome(reply.code, value, details, reply.token)


def _details_of(result: Any, reply: Reply, context: Context) -> Mapping[str, Any]:
    """Convert the details of a reply about a record to their types."""
    if len(reply.body) < 2 or result not in DETAILED:
        return {"replayed": True} if reply.code == "replayed" else NO_DETAILS
    texts = fields_of(reply.body[1])
    if not texts and reply.code != "replayed":
        return NO_DETAILS
    details: dict[str, Any] = {"slice": SliceRequest.of(texts)} if "slice_rule" in texts else {}
    details |= {name: int(texts[name]) for name in NUMBERS if name in texts}
    details |= {name: texts[name] for name in TEXTS if name in texts}
    details |= {name: from_ms(texts[name]) for name in TIMES if name in texts}
    if "refund" in texts:
        details["refund"] = RefundTerms(texts["refund"], int(texts["refund_amount"]))
    if "payment" in texts:
        details["payment"] = context.payment(texts["payment"])
    if entry := texts.get("entry"):
        details["entry"] = entry_from(entry) if len(entry) > 1 else entry[0]  # only its id, if it was trimmed
    if "limit" in texts:
        details["limit"] = limit_from(texts)
    if "retry_after_ms" in texts:
        details |= {"retry_after_s": int(texts["retry_after_ms"]) / 1000, "too_many": texts["too_many"]}
    if reply.code == "replayed":
        details["replayed"] = True
    return details


def _one(build: Callable[[Any], Any]) -> Callable[[Sequence[Any], Context], Any]:
    return lambda body, _: build(body[0]) if body[0] else None


def _page(items: list[Any], body: Sequence[Any]) -> Page[Any]:
    next_cursor = body[1] or None
    return Page(data=items, has_more=next_cursor is not None, next_cursor=next_cursor)


def _limit(flat: Sequence[str]) -> Limit:
    return limit_from(fields_of(flat))


def _currency_of(flat: Sequence[str]) -> str:
    """Return the currency of a limit in a reply, for an unreadable one its first part."""
    return dict(zip(flat[::2], flat[1::2], strict=False)).get("currency", flat[0])


def _due(body: Sequence[Any], context: Context) -> Due:
    payments, messages, next_at, unfinished, unreadable = body
    for member in unreadable:
        context.unreadable.note("agenda", member)

    def claimed_from(found: Sequence[Any]) -> Claimed:
        view, claim, refund_id, amount = found
        refund = RefundTerms(refund_id, int(amount)) if refund_id else None
        return Claimed(context.operator_payment(view), claim, refund)

    return Due(
        payments=context.each("payment", payments, claimed_from, lambda found: id_of(found[0])),
        messages=[_claimed_message(message) for message in messages],
        next_in_ms=int(float(next_at)) - context.now_ms if next_at else None,
        unfinished=unfinished,
    )


def _claimed_message(found: Sequence[Any]) -> ClaimedMessage:
    entry_id, kind, channel, attempts, claim, version, reason, packed = found
    notification = Notification.of(entry_id, kind, version, reason, readable_context_from(packed))
    return ClaimedMessage(notification, cast("Method", channel), int(attempts), claim)


def _news(body: Sequence[Any], _: Context) -> News:
    messages, end, is_last, canceled = body
    notifications = [
        Notification.of(entry_id, kind, version, reason, readable_context_from(packed))
        for entry_id, kind, version, reason, packed in messages
    ]
    return News(notifications, end, is_last == 1, canceled)


def _owned(body: Sequence[Any], context: Context) -> Mapping[str, Subject]:
    found: dict[str, Subject] = {}
    for kind, build in SUBJECTS.items():
        records = [record for record in body[0] if record and id_of(record).startswith(f"{kind[:3]}_")]
        found |= {each.id: each for each in context.each(kind, records, partial(context.subject, build))}
    return found


def _archive_status(body: Sequence[Any], _: Context) -> ArchiveStatus:
    archived_to, lag_ms, trimmed_to = body[0]
    return ArchiveStatus.trusted(
        lag_s=int(lag_ms) / 1000 if lag_ms else None,
        archived_to=from_ms(archived_to.partition("-")[0]) if archived_to else None,
        checkpoint=from_ms(trimmed_to.partition("-")[0]) if trimmed_to else None,
    )


def _statement(body: Sequence[Any], context: Context) -> Statement:
    """Build a page of a statement: without an entry it would not add up, so it is read whole or not at all."""
    (_, currency), found, next_cursor, around = body
    entries = context.each("entry", found, entry_from)
    balances = context.each("entry", around, lambda each: entry_from(each).balance_after if each else 0)
    opening, closing = balances
    if not currency or len(entries) < len(found):
        raise ValueError("a part of the statement cannot be read")
    return Statement.trusted(
        opening_balance=opening,
        closing_balance=closing,
        data=entries,
        has_more=bool(next_cursor),
        next_cursor=next_cursor or None,
        currency=currency,
    )


def _endpoints(body: Sequence[Any], context: Context) -> Endpoints:
    version, found = body
    return Endpoints(version, context.now_ms, context.each("webhook", found, endpoint_from))


def _taken(body: Sequence[Any], context: Context) -> TakenDeliveries:
    claimed, has_more, next_at = body
    deliveries = [claimed_delivery_from(each, context) for each in claimed]
    return TakenDeliveries(deliveries, has_more == 1, int(next_at) - context.now_ms if next_at else None)


DECODERS: dict[Any, Callable[[Sequence[Any], Context], Any]] = {
    type(None): lambda _, __: None,
    bool: lambda body, _: body[0] == 1,
    str: lambda body, _: body[0],
    list[bool]: lambda body, _: [is_current == 1 for is_current in body[0]],
    list[str]: lambda body, _: list(body[0]),
    Mapping[str, str]: lambda body, _: fields_of(body[0]),
    Raw: lambda body, _: body,
    User: _one(user_from),
    Wallet: _one(wallet_from),
    Limit: _one(_limit),
    Invoice: lambda body, context: context.invoice(body[0]) if body[0] else None,
    Payment: lambda body, context: context.payment(body[0]) if body[0] else None,
    OperatorPayment: lambda body, context: context.operator_payment(body[0]) if body[0] else None,
    Message: lambda body, context: context.message(body[0]) if body[0] else None,
    ArchiveStatus: _archive_status,
    list[Limit]: lambda body, context: context.each("limit", body[0], _limit, _currency_of),
    "Page[User]": lambda body, context: _page(context.each("user", body[0], user_from), body),
    "Page[Wallet]": lambda body, context: _page(context.each("wallet", body[0], wallet_from), body),
    "Page[Invoice]": lambda body, context: _page(context.each("invoice", body[0], context.invoice), body),
    "Page[Payment]": lambda body, context: _page(context.each("payment", body[0], context.payment), body),
    "Page[OperatorPayment]": lambda body, context: _page(
        context.each("payment", body[0], context.operator_payment), body
    ),
    "Page[Entry]": lambda body, context: _page(context.each("entry", body[0], entry_from), body),
    Statement: _statement,
    "Page[Message]": lambda body, context: _page([context.listed_message(each) for each in body[0]], body),
    Due: _due,
    Sequence[str]: lambda body, _: body[0],
    Mapping[str, Subject]: _owned,
    News: _news,
    Endpoint: lambda body, _: endpoint_from(body[0]) if body else None,
    Endpoints: _endpoints,
    TakenDeliveries: _taken,
    Delivery: lambda body, context: delivery_from(body[0], context.partition),
    "Page[Delivery]": lambda body, context: _page(
        context.each("delivery", body[0], lambda each: delivery_from(each, context.partition)), body
    ),
}
"""The decoders of a reply's body, by the type that the command returns."""

DETAILED = frozenset({Payment, OperatorPayment, Invoice, Wallet})
"""The results whose replies have details behind the record."""
