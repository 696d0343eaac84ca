"""The adapters of services: their requests, and every reply that is not exactly right."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from openapi_spec_validator import validate
from support.fixtures.services_document import assert_request, document, states
from support.servers.scripted_server import RESET, Scripted, ScriptedServer, scripted_server
from support.servers.services_stub import SECRET
from support.servers.silent_server import silent_server

from technopay.engine import Channel, OutgoingMessage, PaymentTerms, RefundTerms, SettlementService
from technopay.http.services import settlement, signed_requests, sms
from technopay.http.services.settlement import HttpSettlementService
from technopay.http.services.signed_requests import ServiceError
from technopay.http.services.sms import HttpSmsChannel

TERMS = PaymentTerms("pay_00x7", 1_250, "EUR", "Café “Central”")
REFUND = RefundTerms("ref_00x9", 250)
MESSAGE = OutgoingMessage(
    event_id="evt_001783252800000-0", user_id="alice", channel="sms", to="+15550100", kind="confirmation.code",
    text="123456 is your code", code="123456", payment_id="pay_00x7", amount=1_250, currency="EUR",
    payee="Bookshop",
)  # fmt: skip
JSON = {"Content-Type": "application/json"}
PAYMENT = {"payment_id": "pay_00x7", "amount": 1_250, "currency": "EUR", "merchant": "Café “Central”"}
BODIES: dict[str, tuple[str, dict[str, Any], str]] = {
    "settle": ("pay_00x7", PAYMENT, "settled"),
    "status": ("pay_00x7", PAYMENT, "not_found"),
    "call_off": ("pay_00x7", PAYMENT, "called_off"),
    "reverse": ("ref_00x9", PAYMENT | {"refund": {"id": "ref_00x9", "amount": 250}}, "reversed"),
    "deliver": (
        "evt_001783252800000-0",
        {
            "event_id": "evt_001783252800000-0", "to": "+15550100", "kind": "confirmation.code",
            "text": "123456 is your code",
        },
        "accepted",
    ),
}  # fmt: skip
"""The key, the body and a state of each operation."""
Call = Callable[[str], Awaitable[str | None]]


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with scripted_server() as running:
        yield running


@pytest.fixture
async def call(server: ScriptedServer) -> AsyncIterator[Call]:
    """Call an operation by its name."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        bank: SettlementService = HttpSettlementService(session, f"{server.url}/v1/", SECRET)
        channel: Channel = HttpSmsChannel(session, f"{server.url}/v1", SECRET)

        async def make(operation: str) -> str | None:
            if operation == "deliver":
                await channel.deliver(MESSAGE)
                return None
            if operation == "reverse":
                return await bank.reverse(TERMS, REFUND)
            result: str = await getattr(bank, operation)(TERMS)
            return result

        yield make


def reply(operation: str, **changes: Any) -> str:
    key, _, state = BODIES[operation]
    return json.dumps({"key": key, "state": state, **changes})


def test_the_document_is_valid_and_names_the_states_of_the_adapters() -> None:
    validate(document())

    assert {path: tuple(states(path)) for path in document()["paths"]} == {
        "/settle": settlement.SETTLE, "/status": settlement.STATUS, "/call_off": settlement.CALL_OFF,
        "/reverse": settlement.REVERSE, "/deliver": sms.DELIVER,
    }  # fmt: skip


@pytest.mark.parametrize("operation", BODIES)
async def test_a_request_is_as_documented_and_signed(
    server: ScriptedServer, call: Call, operation: str
) -> None:
    key, body, state = BODIES[operation]
    server.script = [Scripted(200, reply(operation, more=[1]), JSON)]

    assert await call(operation) == (None if operation == "deliver" else state)

    [asked] = server.asked
    assert (asked.method, asked.path) == ("POST", f"/v1/{operation}")
    assert asked.body == {"operation": operation, **body}
    assert asked.key == key
    assert_request(f"/{operation}", asked.headers, asked.body)
    headers = {name.lower(): value for name, value in asked.headers.items()}
    assert headers["webhook-id"] == f"{key}:{operation}"
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    signed = f"{key}:{operation}.{headers['webhook-timestamp']}.".encode() + asked.raw
    digest = hmac.digest(base64.b64decode(SECRET.removeprefix("whsec_")), signed, hashlib.sha256)
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"


@pytest.mark.parametrize(
    ("operation", "state"), [(path[1:], state) for path in document()["paths"] for state in states(path)]
)
async def test_every_documented_state_is_returned(
    server: ScriptedServer, call: Call, operation: str, state: str
) -> None:
    server.script = [Scripted(200, reply(operation, state=state), JSON)]

    assert await call(operation) == (None if operation == "deliver" else state)


WRONG: dict[str, Callable[[str], Scripted | str]] = {
    "another status of success": lambda name: Scripted(201, reply(name), JSON),
    "accepted": lambda name: Scripted(202, reply(name), JSON),
    "not found": lambda name: Scripted(404, reply(name, state="not_found"), JSON),
    "an error": lambda name: Scripted(500, reply(name), JSON),
    "a redirect": lambda name: Scripted(307, reply(name), {**JSON, "Location": "/v1/elsewhere"}),
    "another media type": lambda name: Scripted(200, reply(name), {"Content-Type": "text/plain"}),
    "no body": lambda _: Scripted(200, "", JSON),
    "no JSON": lambda _: Scripted(200, "{", JSON),
    "no object": lambda _: Scripted(200, "[]", JSON),
    "nested JSON": lambda _: Scripted(200, "[" * 16_000, JSON),
    "a member twice": lambda name: Scripted(200, reply(name)[:-1] + ',"state":"declined"}', JSON),
    "a long body": lambda name: Scripted(200, reply(name, more="x" * 17_000), JSON),
    "another key": lambda name: Scripted(200, reply(name, key="pay_00x8"), JSON),
    "no key": lambda _: Scripted(200, '{"state":"settled"}', JSON),
    "no state": lambda name: Scripted(200, f'{{"key":"{BODIES[name][0]}"}}', JSON),
    "an unknown state": lambda name: Scripted(200, reply(name, state="SETTLED"), JSON),
    "the state of another operation": lambda name: Scripted(200, reply(name, state="refunded"), JSON),
    "a state of another type": lambda name: Scripted(200, reply(name, state=["settled"]), JSON),
    "a cut connection": lambda _: RESET,
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("operation", BODIES)
async def test_any_other_reply_is_an_error_and_is_not_asked_again(
    server: ScriptedServer, call: Call, operation: str, wrong: str
) -> None:
    server.script = [WRONG[wrong](operation), Scripted(200, reply(operation), JSON)]

    with pytest.raises((ServiceError, aiohttp.ClientError)) as failed:
        await call(operation)

    assert len(server.asked) == 1
    assert "123456" not in str(failed.value)
    await call(operation)


async def test_silence_ends_by_its_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signed_requests, "REQUEST_S_MAX", 0.05)

    async with silent_server() as port, aiohttp.ClientSession() as session:
        with pytest.raises(TimeoutError):
            await HttpSettlementService(session, f"http://127.0.0.1:{port}", SECRET).settle(TERMS)


@pytest.mark.parametrize(
    ("url", "secret", "rule"),
    [
        ("http://bank.example", SECRET, "url has to begin with https://"),
        ("https://bank.example", "hush", "secret has to be whsec_"),
    ],
)
async def test_wrong_settings_are_refused_at_once(url: str, secret: str, rule: str) -> None:
    async with aiohttp.ClientSession() as session:
        for adapter in (HttpSettlementService, HttpSmsChannel):
            with pytest.raises(ValueError, match=f"^{rule}") as refused:
                adapter(session, url, secret)
            assert "hush" not in str(refused.value)
