"""Operations on webhooks and their deliveries."""

import re
from functools import partial
from typing import Annotated, Literal

from technopay.engine.errors import DeliveryNotFound, FieldError, ValidationFailed, WebhookNotFound
from technopay.engine.events.subjects import EVENT_TYPES
from technopay.engine.fields import JournalCursor, Key, Name, PageLimit, Rule, require
from technopay.engine.operation import operation
from technopay.engine.ports import Outcome
from technopay.engine.record import Page, from_ms
from technopay.engine.runtime import Runtime, unwrap
from technopay.engine.webhooks.addresses import URL_LENGTH_MAX, url_error
from technopay.engine.webhooks.commands import (
    ListDeliveries,
    NoteResent,
    SendDeadAgain,
    SendDeliveryAgain,
)
from technopay.engine.webhooks.models import (
    Delivery,
    DeliveryStatus,
    Endpoint,
    Resent,
    SealedSecret,
    Webhook,
)

OVERLAP_S, OVERLAP_S_MAX = 86_400, 7 * 86_400
WEBHOOK_ID = re.compile(r"whk_00[0-9A-Za-z_-]{1,58}")
DELIVERY_ID = re.compile(r"dlv_([0-9a-f]{2})([0-9]{1,15}-[0-9]{1,9})")


def _types_error(types: list[str]) -> str | None:
    # HTTP calls it before the types of the items are checked.
    if not all(isinstance(each, str) and each in EVENT_TYPES for each in types):
        return "has to be types of events, like payment.succeeded"
    return "has to be different types" if len(set(types)) < len(types) else None


def _overlap_error(overlap_s: object) -> str | None:
    if type(overlap_s) is not int:
        return "has to be a whole number of seconds"
    return None if 0 <= overlap_s <= OVERLAP_S_MAX else f"has to be 0 to {OVERLAP_S_MAX} seconds"


EventTypes = Annotated[list[str], Rule(_types_error, {"maxItems": len(EVENT_TYPES)})]
Url = Annotated[str, Rule(lambda _: None, {"maxLength": URL_LENGTH_MAX, "format": "uri"})]
Overlap = Annotated[int, Rule(_overlap_error, {"minimum": 0, "maximum": OVERLAP_S_MAX})]


@operation("idempotency_key_reused validation_failed")
async def create_webhook(
    runtime: Runtime, *, url: Url, merchant: Name | None = None, types: EventTypes | None = None,
    idempotency_key: Key = None
) -> Webhook:  # fmt: skip
    """Create a webhook: it gets the events from now on, of one merchant or all, of some types or all."""
    _require_url(runtime, url)
    webhooks, kinds = runtime.webhooks, tuple(types or ())
    called = runtime.operation("create_webhook", (), idempotency_key, [url, merchant, kinds])
    secret, sealed = _new_secret(runtime, webhook_id := runtime.ids.new("whk", 0))
    new = Endpoint(webhook_id, 0, url, merchant or "", kinds, "active", (sealed,), 0, None)
    outcome = await webhooks.registry.save(called, new)
    if outcome.code == "webhooks_full":
        raise ValidationFailed([FieldError("url", "is one too many: a store has at most 64 webhooks")])
    return _with_secret(runtime, outcome, secret, sealed)


@operation("validation_failed")
async def list_webhooks(runtime: Runtime, *, limit: PageLimit = 20, cursor: str = "") -> Page[Webhook]:
    """List webhooks, newest first."""
    if cursor and not WEBHOOK_ID.fullmatch(cursor):
        raise ValidationFailed([FieldError("cursor", "has to be the next_cursor of an earlier page")])
    endpoints, _ = await runtime.webhooks.registry.read()
    rest = [endpoints[each] for each in sorted(endpoints, reverse=True) if not cursor or each < cursor]
    shown, has_more = rest[:limit], len(rest) > limit
    data = [_webhook_from(each) for each in shown]
    return Page[Webhook](data=data, has_more=has_more, next_cursor=shown[-1].id if has_more else None)


@operation("webhook_not_found")
async def find_webhook(runtime: Runtime, *, webhook_id: str) -> Webhook:
    """Read a webhook."""
    return _webhook_from(await _find(runtime, webhook_id))


@operation("webhook_not_found validation_failed")
async def update_webhook(
    runtime: Runtime, *, webhook_id: str, url: Url | None = None, types: EventTypes | None = None,
    status: Literal["active", "paused"] | None = None
) -> Webhook:  # fmt: skip
    """Change a webhook; what is None stays. Active again, it goes on where it stopped."""
    if url is not None:
        _require_url(runtime, url)

    def change(endpoint: Endpoint, now_ms: int) -> Endpoint:
        return endpoint._replace(
            url=endpoint.url if url is None else url,
            types=endpoint.types if types is None else tuple(types),
            status=status or endpoint.status,
            secrets=runtime.webhooks.secrets.renewed(endpoint, now_ms),
        )

    called = runtime.operation("update_webhook", (webhook_id,), None, [url, types, status])
    outcome = await runtime.webhooks.registry.change(called, _id_or_unknown(webhook_id), change)
    return _webhook_from(unwrap(outcome))


@operation("webhook_not_found")
async def delete_webhook(runtime: Runtime, *, webhook_id: str) -> None:
    """Delete a webhook with its deliveries. A repeat within 72 hours succeeds, too."""
    called = runtime.operation("delete_webhook", (webhook_id,), "deleted", [])
    delete = partial(_with_status, status="deleted")
    unwrap(await runtime.webhooks.registry.change(called, _id_or_unknown(webhook_id), delete))


@operation("webhook_not_found idempotency_key_reused validation_failed")
async def rotate_webhook_secret(
    runtime: Runtime, *, webhook_id: str, overlap_s: Overlap = OVERLAP_S, idempotency_key: Key = None
) -> Webhook:
    """Replace the secret of a webhook; for the overlap, deliveries are signed by the earlier one, too."""
    webhooks = runtime.webhooks
    called = runtime.operation("rotate_webhook_secret", (webhook_id,), idempotency_key, [overlap_s])
    webhook_id = _id_or_unknown(webhook_id)
    secret, sealed = _new_secret(runtime, webhook_id)

    def change(endpoint: Endpoint, now_ms: int) -> Endpoint:
        return endpoint._replace(
            secrets=webhooks.secrets.rotated(endpoint, sealed.id, secret, now_ms, overlap_s)
        )

    outcome = await webhooks.registry.change(called, webhook_id, change)
    return _with_secret(runtime, outcome, secret, sealed)


@operation("webhook_not_found validation_failed")
async def list_deliveries(
    runtime: Runtime, *, webhook_id: str, status: DeliveryStatus | None = None, limit: PageLimit = 20,
    cursor: JournalCursor = ""
) -> Page[Delivery]:  # fmt: skip
    """List the deliveries of a webhook, newest event first. A page can be short while there is a next one."""
    await _find(runtime, webhook_id)
    return await runtime.value_of(ListDeliveries(webhook_id, status, cursor, limit))


@operation("webhook_not_found delivery_not_found idempotency_key_reused validation_failed")
async def send_delivery_again(
    runtime: Runtime, *, webhook_id: str, delivery_id: str, idempotency_key: Key = None
) -> Delivery:
    """Send a dead delivery again; a delivery that is not dead is not changed."""
    called = runtime.operation("send_delivery_again", (webhook_id, delivery_id), idempotency_key, [])
    found = DELIVERY_ID.fullmatch(delivery_id)
    if found and int(found[1], 16) in runtime.store.partitions:
        command = SendDeliveryAgain(called, int(found[1], 16), _id_or_unknown(webhook_id), found[2])
        outcome = await runtime.run(command, lambda _: runtime.webhooks.wake(command.partition))
        if outcome.code != DeliveryNotFound.code:
            return unwrap(outcome)
    await _find(runtime, webhook_id)
    raise DeliveryNotFound


@operation("webhook_not_found idempotency_key_reused validation_failed")
async def send_dead_deliveries_again(
    runtime: Runtime, *, webhook_id: str, idempotency_key: Key = None
) -> Resent:
    """Send all dead deliveries of a webhook again."""
    called = runtime.operation("send_dead_deliveries_again", (webhook_id,), idempotency_key, [])
    earlier = await runtime.store.run(NoteResent(called, -1))
    if earlier.code != "nothing":
        return Resent(resent=int(unwrap(earlier)[0])).as_replay()
    await _find(runtime, webhook_id)
    resent = 0
    for each in runtime.store.partitions:
        code = "more"
        while code == "more":
            outcome = await runtime.store.run(SendDeadAgain(each, webhook_id))
            code, resent = outcome.code, resent + int(unwrap(Outcome("ok", outcome.value))[0])
        runtime.webhooks.wake(each)
    if resent:
        await runtime.store.run(NoteResent(called, resent))
    return Resent(resent=resent)


def _require_url(runtime: Runtime, url: str) -> None:
    require([("url", url_error(url, runtime.settings.webhook_private))])


def _id_or_unknown(webhook_id: str) -> str:
    return webhook_id if WEBHOOK_ID.fullmatch(webhook_id) else "unknown"


async def _find(runtime: Runtime, webhook_id: str) -> Endpoint:
    endpoints, _ = await runtime.webhooks.registry.read()
    if webhook_id not in endpoints:
        raise WebhookNotFound
    return endpoints[webhook_id]


def _new_secret(runtime: Runtime, webhook_id: str) -> tuple[str, SealedSecret]:
    secrets = runtime.webhooks.secrets
    secret = secrets.new()
    return secret, secrets.seal(webhook_id, runtime.ids.new("whs", 0), secret)


def _with_secret(runtime: Runtime, outcome: Outcome[Endpoint], secret: str, sealed: SealedSecret) -> Webhook:
    """Return a webhook with its new secret. A repeat of an earlier call has none; one of our own does."""
    webhook = _webhook_from(saved := unwrap(outcome))
    current = runtime.webhooks.registry.endpoints.get(saved.id)
    if current is not None and current.secrets[0].id == sealed.id:
        return webhook.model_copy(update={"secret": secret})
    return webhook.as_replay()


def _with_status(endpoint: Endpoint, _: int, *, status: str) -> Endpoint:
    return endpoint._replace(status=status)


def _webhook_from(endpoint: Endpoint) -> Webhook:
    failing_since_ms = endpoint.failing_since_ms
    return Webhook.trusted(
        id=endpoint.id,
        url=endpoint.url,
        merchant=endpoint.merchant or None,
        types=list(endpoint.types),
        status=endpoint.status,
        secret=None,
        failing_since=None if failing_since_ms is None else from_ms(failing_since_ms),
        created_at=from_ms(endpoint.created_at_ms),
    )
