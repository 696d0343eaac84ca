"""Ids of identity providers, text of any script, and codes as people type them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from support.fixtures.engine_setup import Setup, make_setup, other_than
from support.fixtures.http_api import Api, inbox, make_person

from technopay.engine import ConfirmationInvalid, Engine, ReferenceUsed, UserNotFound, ValidationFailed
from technopay.http.client import Client
from technopay.storage import RedisStore

USER_IDS = [
    "auth0|5f1c7c", "us-east-1:5f1c7c-04", "alice+shop@example.com", "~alice", "...", ".a", "a:b|c@d",
    "x" * 128,
]  # fmt: skip


@pytest.mark.parametrize("user_id", USER_IDS)
async def test_an_id_of_an_identity_provider_is_encoded_in_paths(any_api: Api, user_id: str) -> None:
    api, in_path = any_api, quote(user_id, safe="")

    created = await api.operate("POST", "/users", {"id": user_id, "email": "a@site.test"})

    assert created.expect(201)["id"] == user_id
    assert created.headers["Location"] == f"/v1/admin/users/{in_path}"
    for action in ("", "/block", "/unblock"):
        method = "POST" if action else "GET"
        assert (await api.operate(method, f"/users/{in_path}{action}")).expect(200)["id"] == user_id


@pytest.mark.parametrize("user_id", USER_IDS)
async def test_a_user_with_such_an_id_pays_and_others_do_not_see_it(any_api: Api, user_id: str) -> None:
    api, in_path = any_api, quote(user_id, safe="")
    person = await make_person(api, user_id, email="a@site.test")

    payment = await person.pay()

    found = (await api.operate("GET", f"/payments?user_id={in_path}")).expect(200)["data"]
    assert [each["id"] for each in found] == [payment["id"]]
    await inbox(api, in_path, "payment.succeeded")
    (await api.get(f"/v1/payments/{payment['id']}", user="alice")).refuse(404, "payment_not_found")


@pytest.mark.parametrize("user_id", USER_IDS)
async def test_the_client_writes_ids_into_paths(api: Api, user_id: str) -> None:
    async with Client(str(api.client.make_url("/")), api.token("operator", admin=True)) as operator:
        assert (await operator.create_user(user_id=user_id, phone="+15550100")).id == user_id
        assert (await operator.get_user(user_id=user_id)).id == user_id
        assert (await operator.block_user(user_id=user_id)).status == "blocked"
        assert (await operator.search_payments(user_id=user_id)).data == []


@pytest.mark.parametrize("user_id", [".", "..", "a/b", "a b", "\ud800", "", "x" * 129])
async def test_who_cannot_be_a_user_is_none(engine: Engine, user_id: str) -> None:
    for call in (engine.get_user, engine.block_user, engine.unblock_user):
        with pytest.raises(UserNotFound):
            await call(user_id=user_id)
    with pytest.raises(ValidationFailed):
        await engine.search_payments(user_id=user_id)
    with pytest.raises(ValidationFailed):
        await engine.list_messages(user_id=user_id)


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


SCRIPTS = {"persian": 0x06F0, "arabic": 0x0660, "full-width": 0xFF10, "devanagari": 0x0966}


@pytest.mark.parametrize("zero", SCRIPTS.values(), ids=SCRIPTS)
async def test_a_code_can_be_typed_in_the_digits_of_any_script(
    engine: Engine, store: RedisStore, zero: int
) -> None:
    alice = await make_setup(engine, store)
    payment = await alice.start()
    code = await alice.right_code(payment)
    typed = "".join(chr(zero + int(digit)) for digit in code)

    with pytest.raises(ConfirmationInvalid):
        await alice.confirm(payment, "".join(chr(zero + int(digit)) for digit in other_than(code)))
    assert (await alice.payment(payment)).confirmation.attempts_remaining == 4  # type: ignore[union-attr]
    paid = await alice.confirm(payment, f"\u200a{typed[:3]}\u2011\u3000{typed[3:]}\n-")

    assert paid.status == "succeeded"
    assert (await alice.confirm(payment, code)).replayed, "it is the same answer, however it was typed"


async def test_what_is_no_code_costs_an_attempt_and_its_length_is_as_it_was_typed(setup: Setup) -> None:
    payment = await setup.start()

    with pytest.raises(ValidationFailed):
        await setup.confirm(payment, " " * 65)
    for left, typed in ((4, " " * 64), (3, "--"), (2, "\ud800"), (1, "²" * 6)):
        with pytest.raises(ConfirmationInvalid) as refused:
            await setup.confirm(payment, typed)
        assert refused.value.attempts_remaining == left
    assert (await setup.confirm(payment)).status == "succeeded"


@pytest.fixture
async def setup(engine: Engine, store: RedisStore) -> Setup:
    return await make_setup(engine, store)
