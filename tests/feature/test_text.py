"""Ids of identity providers, and text of any script."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from support.fixtures.engine_setup import make_setup
from support.fixtures.http_api import Api, inbox, make_person

from technopay.engine import Engine, ReferenceUsed
from technopay.storage import RedisStore

USER_IDS = [
    "auth0|5f1c7c", "us-east-1:5f1c7c-04", "alice+shop@example.com", "~alice", "...", ".a", "a:b|c@d",
    "x" * 128,
]  # fmt: skip


@pytest.mark.parametrize("user_id", USER_IDS)
async def test_a_user_with_an_id_of_an_identity_provider_pays(any_api: Api, user_id: str) -> None:
    """Paths encode the id."""
    api, in_path = any_api, quote(user_id, safe="")
    payment = await (await make_person(api, user_id, email="a@site.test")).pay()

    for action in ("", "/block", "/unblock"):
        method = "POST" if action else "GET"
        assert (await api.operate(method, f"/users/{in_path}{action}")).expect(200)["id"] == user_id
    found = (await api.operate("GET", f"/payments?user_id={in_path}")).expect(200)["data"]
    assert [each["id"] for each in found] == [payment["id"]]
    await inbox(api, in_path, "payment.succeeded")
    (await api.get(f"/v1/payments/{payment['id']}", user="alice")).refuse(404, "payment_not_found")
    other_id = f"{user_id[:-1]}_"
    created = await api.operate("POST", "/users", {"id": other_id})
    assert created.headers["Location"] == f"/v1/admin/users/{quote(other_id, safe='')}"


async def test_text_is_kept_in_nfc_and_a_reference_is_one_in_that_form(
    engine: Engine, store: RedisStore
) -> None:
    await make_setup(engine, store, email="u\u0308@site.test")
    terms: dict[str, Any] = {
        "user_id": "alice", "amount": 1, "currency": "EUR", "expires_at": datetime.now(UTC) + timedelta(hours=1)
    }  # fmt: skip

    invoice = await engine.create_invoice(
        merchant="Cafe\u0301",
        description="2\u00a0e\u0301clairs\n\t1 the\u0301",
        reference="nº e\u0301",
        **terms,
    )

    assert (await engine.get_user(user_id="alice")).email == "ü@site.test"
    for found in (invoice, await engine.find_invoice(invoice_id=invoice.id)):
        assert found.merchant == "Café"
        assert (found.description, found.reference) == ("2\u00a0éclairs\n\t1 thé", "nº é")
    for merchant, reference in (("Café", "nº é"), ("Cafe\u0301", "nº e\u0301")):
        with pytest.raises(ReferenceUsed):
            await engine.create_invoice(merchant=merchant, reference=reference, **terms)


async def test_a_message_shows_a_payee_of_any_script(engine: Engine, store: RedisStore) -> None:
    alice = await make_setup(engine, store)
    payee = "کتاب\u200cفروشی \u200f👩\u200d👧\u3000so\xadft"

    payment = await alice.start(await alice.invoice(merchant=payee))

    code = await alice.code_from_inbox(payment)
    assert (await alice.confirm(payment, code)).merchant == payee
    message = (await alice.message("confirmation.code")).message
    assert message.text == f"{code} is your code to pay 25.00 EUR to {payee}. Give it to nobody."
