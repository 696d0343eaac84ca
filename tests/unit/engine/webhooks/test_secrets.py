"""Secrets of webhooks: their form, their encryption, their rotation, their signatures."""

import base64
import time
from itertools import count

import pytest
from standardwebhooks import Webhook, WebhookVerificationError
from support.fixtures.engine_setup import SECRET, lax_settings

from technopay.engine.webhooks.models import Endpoint, SealedSecret
from technopay.engine.webhooks.secrets import WebhookSecrets, signed_headers

NEXT = "the next secret, of tests and of tests alone"


def secrets_of(secret: str = SECRET, *previous: str) -> WebhookSecrets:
    numbers = count(1)
    settings = lax_settings(secret=secret, previous_secrets=previous)
    return WebhookSecrets(settings, lambda length: bytes([next(numbers)]) * length)


def endpoint_with(*secrets: SealedSecret) -> Endpoint:
    return Endpoint("whk_001", 1, "https://example.com", "", (), "active", secrets, 0, None)


def test_a_secret_has_the_form_of_standard_webhooks() -> None:
    secret = secrets_of().new()
    assert secret.startswith("whsec_")
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
    assert WebhookSecrets(lax_settings()).new() != WebhookSecrets(lax_settings()).new()


def test_a_secret_is_opened_for_its_webhook_and_its_id_alone() -> None:
    secrets = secrets_of()
    sealed = secrets.seal("whk_001", "whs_1", "whsec_abc")
    assert "abc" not in sealed.sealed
    assert secrets.open("whk_001", sealed) == "whsec_abc"
    assert secrets.open("whk_002", sealed) is None
    assert secrets.open("whk_001", sealed._replace(id="whs_2")) is None
    for broken in ("", "%", base64.b64encode(b"x" * 40).decode()):
        assert secrets.open("whk_001", sealed._replace(sealed=broken)) is None


def test_the_next_secret_of_an_engine_reads_what_the_earlier_one_sealed_and_seals_it_anew() -> None:
    sealed = secrets_of().seal("whk_001", "whs_1", "whsec_abc")
    later, without = secrets_of(NEXT, SECRET), secrets_of(NEXT)
    endpoint = endpoint_with(sealed)
    assert (later.has_keys_of(endpoint), without.has_keys_of(endpoint)) == (True, False)
    assert (later.open_all(endpoint, 0), without.open_all(endpoint, 0)) == (["whsec_abc"], None)
    assert without.renewed(endpoint, 0) == (sealed,), "what cannot be opened stays as it is"
    [renewed] = later.renewed(endpoint, 0)
    assert renewed.key_id != sealed.key_id
    assert without.open("whk_001", renewed) == "whsec_abc"
    assert later.renewed(endpoint_with(renewed), 0) == (renewed,)


def test_earlier_secrets_sign_until_their_overlap_ends() -> None:
    secrets = secrets_of()
    endpoint = endpoint_with(secrets.seal("whk_001", "whs_1", "whsec_b25l"))
    rotated = endpoint._replace(secrets=secrets.rotated(endpoint, "whs_2", "whsec_dHdv", 1_000, 60))
    assert secrets.open_all(rotated, 60_999) == ["whsec_dHdv", "whsec_b25l"]
    assert secrets.open_all(rotated, 61_000) == ["whsec_dHdv"]
    # The overlap of an earlier rotation does not get longer.
    again = rotated._replace(secrets=secrets.rotated(rotated, "whs_3", "whsec_dGhyZWU=", 2_000, 600))
    assert secrets.open_all(again, 60_999) == ["whsec_dGhyZWU=", "whsec_dHdv", "whsec_b25l"]
    assert secrets.open_all(again, 61_000) == ["whsec_dGhyZWU=", "whsec_dHdv"]
    at_once = rotated._replace(secrets=secrets.rotated(rotated, "whs_3", "whsec_dGhyZWU=", 2_000, 0))
    assert secrets.open_all(at_once, 2_000) == ["whsec_dGhyZWU="]
    many = endpoint
    for number in range(6):
        many = many._replace(secrets=secrets.rotated(many, f"whs_{number}", "whsec_dGhyZWU=", 0, 600))
    assert [each.id for each in many.secrets] == ["whs_5", "whs_4", "whs_3", "whs_2"]


def test_a_signature_by_each_secret_is_verified_by_the_public_library() -> None:
    now_ms = int(time.time() * 1000)
    headers = signed_headers(["whsec_b25l", "whsec_dHdv"], "evt_001-0", now_ms, '{"id":1}')
    assert set(headers) == {"webhook-id", "webhook-timestamp", "webhook-signature"}
    for secret in ("whsec_b25l", "whsec_dHdv"):
        Webhook(secret).verify('{"id":1}', headers)
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_dGhyZWU=").verify('{"id":1}', headers)
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_b25l").verify('{"id":2}', headers)
