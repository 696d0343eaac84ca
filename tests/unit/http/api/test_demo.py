"""Messages of the mock inbox as JSON."""

import json

from technopay.engine import InboxMessage
from technopay.engine.ports import OutgoingMessage
from technopay.engine.record import from_ms
from technopay.http.api.demo import TOKEN_LIFETIME_S, inbox_json

MESSAGE = OutgoingMessage(
    event_id="evt_1", user_id="alice", channel="sms", to="+15550100", kind="confirmation.code", text="Ü 123456",
    code="123456", payment_id="pay_1", amount=1_234, currency="EUR", payee="shop",
)  # fmt: skip


def test_a_message_shows_its_delivery_and_has_a_member_for_a_code_only_with_one() -> None:
    without = MESSAGE._replace(kind="payment.succeeded", code=None)
    shown = {
        "channel": "sms", "to": "+15550100", "text": "Ü 123456", "payment_id": "pay_1", "event_id": "evt_1",
        "at": "1970-01-01T00:00:00.007Z",
    }  # fmt: skip

    inbox = inbox_json([InboxMessage(from_ms(7), MESSAGE), InboxMessage(from_ms(7), without)])

    assert json.loads(inbox)["data"] == [
        {**shown, "kind": "confirmation.code", "code": "123456"},
        {**shown, "kind": "payment.succeeded"},
    ]


def test_tokens_live_for_12_hours() -> None:
    assert TOKEN_LIFETIME_S == 12 * 60 * 60
