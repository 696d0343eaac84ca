"""The endpoints of operators over HTTP: the status and exactly the members of each response."""

import re
from urllib.parse import urlencode

import pytest
from support.fixtures.engine_setup import wait_for
from support.fixtures.http_api import (
    ENTRY,
    INVOICE,
    LIMIT,
    MESSAGE,
    PAGE,
    PAYMENT,
    TIME,
    USER,
    WALLET,
    Api,
    Json,
    invoice_body,
    make_person,
    running_api,
)

from technopay.storage import RedisStore


async def test_a_user_is_created_and_read_with_complete_addresses_or_without_any(api: Api) -> None:
    for body in (
        {"id": "alice", "email": "alice@example.com", "phone": "+15550100"},
        {"id": "bob", "email": None, "phone": None},
    ):
        reply = await api.operate("POST", "/users", {name: value for name, value in body.items() if value})

        user = reply.expect(201)
        assert reply.headers["Location"] == f"/v1/admin/users/{body['id']}"
        assert set(user) == USER
        assert TIME.fullmatch(user["created_at"])
        assert {**body, "status": "active"}.items() <= user.items()
        assert (await api.get(reply.headers["Location"], user="op", admin=True)).expect(200) == user


async def test_a_wallet_is_created_active_and_empty_and_takes_a_deposit(api: Api) -> None:
    await make_person(api)

    reply = await api.operate("POST", "/wallets", {"user_id": "alice", "currency": "JPY"})

    wallet = reply.expect(201)
    assert reply.headers["Location"] == f"/v1/admin/wallets/{wallet['id']}"
    assert set(wallet) == WALLET
    assert wallet["id"].startswith("wal_")
    assert (wallet["status"], wallet["balance"], wallet["currency"]) == ("active", 0, "JPY")
    path = f"/wallets/{wallet['id']}"
    assert (await api.operate("GET", path)).expect(200) == wallet
    deposited = (await api.operate("POST", f"{path}/deposit", {"amount": 300})).expect(200)
    assert deposited == wallet | {"balance": 300}


async def test_a_status_is_set_and_can_be_set_again(api: Api) -> None:
    alice = await make_person(api)
    user, wallet = "/users/alice", f"/wallets/{alice.wallet_id}"
    for path, status, members in (
        (f"{user}/block", "blocked", USER),
        (f"{user}/unblock", "active", USER),
        (f"{wallet}/deactivate", "inactive", WALLET),
        (f"{wallet}/activate", "active", WALLET),
    ):
        for _ in range(2):
            record = (await api.operate("POST", path)).expect(200)
            assert (set(record), record["status"]) == (members, status)


async def test_an_invoice_is_entered_and_read(api: Api) -> None:
    await make_person(api)

    reply = await api.operate("POST", "/invoices", invoice_body("alice", reference="R-1", description=""))

    invoice = reply.expect(201)
    assert reply.headers["Location"] == f"/v1/admin/invoices/{invoice['id']}"
    assert set(invoice) == INVOICE
    assert invoice["id"].startswith("inv_")
    assert invoice["status"] == "open"
    assert (await api.operate("GET", f"/invoices/{invoice['id']}")).expect(200) == invoice


async def test_an_expiry_is_answered_in_utc_with_milliseconds(api: Api) -> None:
    await make_person(api)
    for given, answered in (
        ("2036-01-01T01:00:00+01:00", "2036-01-01T00:00:00.000Z"),
        ("2036-01-01T00:00:00.123456Z", "2036-01-01T00:00:00.123Z"),
        ("2036-01-01t00:00:00z", "2036-01-01T00:00:00.000Z"),
    ):
        body = invoice_body("alice", expires_at=given)
        assert (await api.operate("POST", "/invoices", body)).expect(201)["expires_at"] == answered


async def test_an_invoice_is_voided_with_its_unconfirmed_payment(api: Api) -> None:
    alice = await make_person(api)
    payment = await alice.start()

    for _ in range(2):
        invoice = (await api.operate("POST", f"/invoices/{payment['invoice_id']}/void")).expect(200)
        assert (set(invoice), invoice["status"]) == (INVOICE, "void")

    assert (await alice.get(f"/payments/{payment['id']}")).expect(200)["status"] == "canceled"


async def test_a_limit_is_set_stops_all_payments_and_is_lifted(api: Api) -> None:
    for amount, remaining in ((5_000, 5_000), (0, 0), (None, None)):
        limit = (await api.operate("PUT", "/limits/EUR", {"amount": amount})).expect(200)
        assert set(limit) == LIMIT
        assert (limit["limit"], limit["used"], limit["remaining"]) == (amount, 0, remaining)
        page = (await api.operate("GET", "/limits")).expect(200)
        assert set(page) == PAGE
        assert page["data"] == [limit]


async def test_a_refund_gives_the_money_back_and_leaves_the_invoice_paid(api: Api) -> None:
    alice = await make_person(api)
    payment = await alice.pay(2_500)

    refunded = (await api.operate("POST", f"/payments/{payment['id']}/refund")).expect(200)

    assert set(refunded) == PAYMENT | {"resolution"}
    assert (refunded["status"], refunded["refunded_amount"]) == ("refunded", 2_500)
    (refund,) = refunded["refunds"]
    assert TIME.fullmatch(refund.pop("at"))
    assert re.fullmatch("ref_00[0-9A-Za-z_-]+", refund.pop("id"))
    assert refund == {"amount": 2_500, "reason": "requested_by_operator", "note": None, "status": "done"}
    invoice = (await alice.get(f"/invoices/{payment['invoice_id']}")).expect(200)
    assert (invoice["status"], invoice["refunded_amount"]) == ("paid", 2_500)
    assert await alice.balance() == 10_000


@pytest.mark.parametrize(("outcome", "status"), [("settled", "succeeded"), ("refund", "failed")])
async def test_a_payment_that_was_set_aside_is_resolved(api: Api, outcome: str, status: str) -> None:
    alice = await make_person(api)
    payment = await alice.start(2_500, "acme-stuck")
    (await alice.confirm(payment, "?wait=0")).expect(202)

    async def look() -> list[Json]:
        found: list[Json] = (await api.operate("GET", "/payments?set_aside=true")).expect(200)["data"]
        return found

    (aside,) = await wait_for(look)
    assert (aside["id"], aside["set_aside"], aside["resolution"]) == (payment["id"], True, None)
    path = f"/payments/{payment['id']}"
    seen = (await alice.get(f"{path}?wait=10")).expect(200)
    assert (seen["status"], seen["set_aside"]) == ("processing", True)

    decision = {"outcome": outcome, "note": "asked them"}
    resolved = (await api.operate("POST", f"{path}/resolve", decision)).expect(200)

    assert set(resolved) == PAYMENT | {"resolution"}
    assert (resolved["status"], resolved["set_aside"]) == (status, False)
    assert set(resolved["resolution"]) == {"outcome", "note", "by", "at"}
    assert {**decision, "by": "operator"}.items() <= resolved["resolution"].items()
    assert TIME.fullmatch(resolved["resolution"]["at"])
    assert set((await alice.get(path)).expect(200)) == PAYMENT
    balance = 7_500 if outcome == "settled" else 10_000
    assert await alice.balance() == balance
    (await api.operate("POST", f"{path}/resolve", decision)).refuse(409, "payment_not_resolvable")


async def test_payments_of_all_users_are_read_and_filtered(api: Api) -> None:
    alice, bob = await make_person(api), await make_person(api, "bob")
    paid, started, other = await alice.pay(), await alice.start(), await bob.start()

    async def found(query: str) -> list[str]:
        page = (await api.operate("GET", f"/payments{query}")).expect(200)
        assert set(page) == PAGE
        assert all(set(payment) == PAYMENT | {"resolution"} for payment in page["data"])
        return [payment["id"] for payment in page["data"]]

    assert await found("") == [other["id"], started["id"], paid["id"]]
    assert await found("?user_id=alice") == [started["id"], paid["id"]]
    assert await found("?status=succeeded") == [paid["id"]]
    assert await found("?status=succeeded&user_id=bob") == []
    assert await found("?set_aside=true") == []
    one = (await api.operate("GET", f"/payments/{other['id']}")).expect(200)
    assert (one["id"], one["user_id"]) == (other["id"], "bob")


async def test_notifications_show_whole_addresses_and_a_dead_one_is_sent_again(fake_store: RedisStore) -> None:
    async with running_api(fake_store, message_attempts=2) as api:
        alice = await make_person(api)
        lost = await make_person(api, "lost", email="dead@example.com")
        await alice.start()
        await lost.start()

        async def look(query: str) -> list[Json]:
            page = (await api.operate("GET", f"/notifications{query}")).expect(200)
            assert set(page) == PAGE
            assert all(set(message) == MESSAGE for message in page["data"])
            return list(page["data"])

        (sent,) = await wait_for(lambda: look("?status=sent"))
        (dead,) = await wait_for(lambda: look("?status=dead&user_id=lost"))
        assert (sent["user_id"], sent["channel"], sent["to"]) == ("alice", "email", "alice@example.com")
        assert sent["id"].startswith("msg_")
        assert sent["event_id"].startswith("evt_")
        assert (sent["kind"], sent["attempts"], sent["last_error"]) == ("confirmation.code", 1, None)
        assert TIME.fullmatch(sent["at"])
        assert (dead["to"], dead["attempts"]) == ("dead@example.com", 2)
        assert dead["last_error"]

        again = (await api.operate("POST", f"/notifications/{dead['id']}/send")).expect(200)

        assert set(again) == MESSAGE
        assert (again["id"], again["status"]) == (dead["id"], "waiting")


async def test_what_a_user_may_not_see_is_in_no_answer_to_a_user(api: Api) -> None:
    alice = await make_person(api)
    payment = await alice.pay()
    paths = ["/wallets", "/invoices", "/payments", f"/payments/{payment['id']}"]
    for path in paths:
        for admin in (False, True):
            text = (await api.get(f"/v1{path}", admin=admin)).text
            assert "alice@example.com" not in text
            assert "resolution" not in text
    refused = await api.post(f"/v1/payments/{payment['id']}/cancel", admin=True)
    assert set(refused.refuse(409, "payment_not_cancelable")["payment"]) == PAYMENT


async def test_a_payment_is_found_by_the_reference_of_its_invoice(api: Api) -> None:
    alice = await make_person(api)
    body = invoice_body("alice", merchant="Shop & Söhne", reference="R 1/ü")
    invoice = (await api.operate("POST", "/invoices", body)).expect(201)
    payment = (await alice.ask_to_start(invoice)).expect(201)
    named = urlencode({"merchant": "Shop & Söhne", "reference": "R 1/ü"})

    [found] = (await api.operate("GET", f"/invoices?{named}")).expect(200)["data"]
    page = (await api.operate("GET", f"/payments?invoice_id={found['id']}")).expect(200)

    assert found == invoice
    assert [each["id"] for each in page["data"]] == [payment["id"]]
    assert (set(page), set(page["data"][0])) == (PAGE, PAYMENT | {"resolution"})


async def test_users_wallets_and_entries_are_listed(api: Api) -> None:
    alice = await make_person(api)
    for path, members in (
        ("/users?status=active", USER),
        ("/users?user_id=alice", USER),
        ("/wallets?status=active&user_id=alice", WALLET),
        (f"/wallets/{alice.wallet_id}/entries", ENTRY),
    ):
        page = (await api.operate("GET", path)).expect(200)
        assert (set(page), page["has_more"]) == (PAGE, False)
        assert [set(each) for each in page["data"]] == [members]
    (await api.operate("GET", "/wallets/wal_00none/entries")).refuse(404, "wallet_not_found")


async def test_payments_are_found_by_a_range_of_times(api: Api) -> None:
    alice = await make_person(api)
    payment = await alice.start()
    created = payment["created_at"]

    async def found(**times: str) -> list[str]:
        page = (await api.operate("GET", f"/payments?{urlencode(times)}")).expect(200)
        return [each["id"] for each in page["data"]]

    assert await found(**{"from": created}) == [payment["id"]]
    assert await found(**{"from": "1970-01-01T00:00:00Z", "to": "9999-12-31T23:59:59.999999Z"}) == [
        payment["id"]
    ]
    assert await found(to=created) == []
    assert await found(**{"from": created.replace("Z", "001Z")}) == [], "a microsecond later"
    for query, field in (
        (f"from={created}&to={created}", "to"),
        ("from=yesterday", "from"),
        ("to=2036-01-01", "to"),
        ("created_from=2036-01-01T00:00:00Z", "created_from"),
        ("cursor=pay_00x", "cursor"),
        ("user_id=alice&cursor=1-1", "cursor"),
    ):
        refused = (await api.operate("GET", f"/payments?{query}")).refuse(422, "validation_failed")
        assert [each["field"] for each in refused["errors"]] == [field]


async def test_addresses_are_changed_by_what_is_given_and_cleared_by_null(api: Api) -> None:
    await make_person(api)
    path = "/users/alice"
    before = (await api.operate("GET", path)).expect(200)

    for body, changed in (
        ({"phone": "+15550100"}, {"phone": "+15550100"}),
        ({"email": "new@example.com"}, {"email": "new@example.com"}),
        ({"email": None}, {"email": None}),
        ({}, {}),
        ({"email": "last@example.com", "phone": None}, {"email": "last@example.com", "phone": None}),
    ):
        for _ in range(2):
            reply = await api.operate("PATCH", path, body)
            assert reply.expect(200) == before | changed
        before |= changed
    (await api.operate("PATCH", "/users/nobody", {"email": None})).refuse(404, "user_not_found")
    for wrong, field in (({"email": "x"}, "email"), ({"phone": 5}, "phone"), ({"id": "bob"}, "id")):
        refused = (await api.operate("PATCH", path, wrong)).refuse(422, "validation_failed")
        assert [each["field"] for each in refused["errors"]] == [field]
    assert (await api.operate("GET", path)).expect(200) == before


async def test_metadata_are_shown_on_the_invoice_and_its_payment(api: Api) -> None:
    alice = await make_person(api)
    metadata = {"order_id": "7"} | {f"name-{number}": "x" * 200 for number in range(18)}
    invoice = await alice.invoice(metadata=metadata)
    assert invoice["metadata"] == metadata
    assert (await api.operate("GET", f"/invoices/{invoice['id']}")).expect(200) == invoice
    payment = (await alice.ask_to_start(invoice)).expect(201)
    assert payment["metadata"] == (await alice.confirm(payment)).expect(200)["metadata"] == metadata
    assert (await alice.invoice())["metadata"] == (await alice.start())["metadata"] == {}
    assert (
        (await alice.invoice(metadata=None))["metadata"] == (await alice.invoice(metadata={}))["metadata"] == {}
    )
    decomposed = await alice.invoice(metadata={"name": "Cafe\u0301"})
    assert decomposed["metadata"] == {"name": "Caf\u00e9"}


@pytest.mark.parametrize(
    "metadata",
    [
        {f"name{number}": "" for number in range(21)},
        {"": "x"},
        {"n" * 41: "x"},
        {"with space": "x"},
        {"name": "x" * 201},
        {"name": "a\x1fb"},
        {"name": "two\nlines"},
        {"name": " padded "},
        {"name": 5},
        {"name": None},
        {"name": {"nested": "x"}},
        ["list"],
        "text",
        5,
    ],
)
async def test_metadata_of_another_form_are_refused(api: Api, metadata: object) -> None:
    await make_person(api)
    reply = await api.operate("POST", "/invoices", invoice_body("alice", metadata=metadata))
    errors = reply.refuse(422, "validation_failed")["errors"]
    assert {each["field"].partition(".")[0] for each in errors} == {"metadata"}


async def test_a_list_over_partitions_goes_on_from_its_own_cursor() -> None:
    async with RedisStore.fake(partitions=4) as store, running_api(store) as api:
        users = ["alice", "bob", "carol", "dave"]
        for user in users:
            (await api.operate("POST", "/users", {"id": user})).expect(201)
        found, cursor = [], ""
        while cursor is not None:
            page = (await api.operate("GET", f"/users?limit=1&cursor={cursor}")).expect(200)
            found += [each["id"] for each in page["data"]]
            cursor = page["next_cursor"]
        assert sorted(found) == users
