"""The endpoints of users over HTTP: the status and exactly the members of each response."""

from support.fixtures.http_api import (
    CONFIRMATION,
    ENTRY,
    INVOICE,
    LIMIT,
    PAGE,
    PAYMENT,
    TIME,
    WALLET,
    Api,
    Json,
    inbox,
    make_person,
)


def assert_times(record: Json, *names: str) -> None:
    """Check that times are RFC 3339 in UTC with milliseconds."""
    for name in names:
        assert TIME.fullmatch(record[name]), f"{name}: {record[name]}"


def only(page: Json) -> Json:
    assert set(page) == PAGE
    assert (page["has_more"], page["next_cursor"]) == (False, None)
    (record,) = page["data"]
    assert isinstance(record, dict)
    return record


async def test_a_purchase_goes_from_start_over_the_code_in_the_inbox_to_a_paid_invoice(api: Api) -> None:
    alice = await make_person(api)
    await api.operate("PUT", "/limits/EUR", {"amount": 20_000})
    invoice = await alice.invoice(2_500)

    started = await alice.ask_to_start(invoice)
    payment = started.expect(201)
    assert started.headers["Location"] == f"/v1/payments/{payment['id']}"
    assert set(payment) == PAYMENT
    assert set(payment["confirmation"]) == CONFIRMATION
    assert_times(payment, "created_at")
    assert_times(payment["confirmation"], "expires_at")
    assert payment["status"] == "requires_confirmation"
    assert payment["paid_at"] is payment["settled_at"] is payment["failure"] is None
    (message,) = await inbox(api, "alice", "confirmation.code")
    assert message["payment_id"] == payment["id"]

    paid = (await alice.confirm(payment, code=message["code"])).expect(200)
    assert set(paid) == PAYMENT
    assert_times(paid, "created_at", "paid_at", "settled_at")
    assert (paid["status"], paid["confirmation"], paid["set_aside"]) == ("succeeded", None, False)
    assert (paid["balance_before"], paid["balance_after"], paid["amount"]) == (10_000, 7_500, 2_500)
    assert (paid["refunded_amount"], paid["refunds"]) == (0, [])
    (limit,) = paid["limits"]
    assert set(limit) == LIMIT
    assert (limit["limit"], limit["used"], limit["remaining"]) == (20_000, 2_500, 17_500)
    assert_times(limit, "resets_at")

    settled = (await alice.get(f"/invoices/{invoice['id']}")).expect(200)
    assert (settled["status"], settled["payment_id"]) == ("paid", payment["id"])
    assert settled["paid_at"] == paid["paid_at"]
    assert (await alice.get(f"/payments/{payment['id']}")).expect(200) == paid
    assert await alice.balance() == 7_500


async def test_a_wallet_is_read_alone_and_in_a_list(api: Api) -> None:
    alice = await make_person(api)

    wallet = (await alice.get(f"/wallets/{alice.wallet_id}")).expect(200)

    assert set(wallet) == WALLET
    assert_times(wallet, "created_at")
    expected = {"user_id": "alice", "currency": "EUR", "balance": 10_000, "status": "active"}
    assert expected.items() <= wallet.items()
    assert only((await alice.get("/wallets")).expect(200)) == wallet


async def test_entries_tell_deposit_payment_and_refund_newest_first(api: Api) -> None:
    alice = await make_person(api)
    payment = await alice.pay(2_500)
    (await api.operate("POST", f"/payments/{payment['id']}/refund")).expect(200)

    page = (await alice.get(f"/wallets/{alice.wallet_id}/entries")).expect(200)

    assert set(page) == PAGE
    assert all(set(entry) == ENTRY for entry in page["data"])
    for entry in page["data"]:
        assert_times(entry, "at")
    assert [(e["kind"], e["amount"], e["balance_after"], e["payment_id"]) for e in page["data"]] == [
        ("refund", 2_500, 10_000, payment["id"]),
        ("payment", -2_500, 7_500, payment["id"]),
        ("deposit", 10_000, 10_000, None),
    ]


async def test_an_invoice_is_read_alone_and_in_a_list(api: Api) -> None:
    alice = await make_person(api)
    entered = await alice.invoice(2_500, "bookshop", description="Two books", reference="R-1")

    invoice = (await alice.get(f"/invoices/{entered['id']}")).expect(200)

    assert invoice == entered
    assert set(invoice) == INVOICE
    assert_times(invoice, "created_at", "expires_at")
    assert (invoice["status"], invoice["refunded_amount"]) == ("open", 0)
    assert invoice["paid_at"] is invoice["payment_id"] is None
    assert (invoice["description"], invoice["reference"]) == ("Two books", "R-1")
    assert only((await alice.get("/invoices")).expect(200)) == invoice


async def test_an_address_is_masked_for_its_user(api: Api) -> None:
    alice = await make_person(api, email="alice@example.com", phone="+15550100")
    invoice = await alice.invoice()
    body = {"invoice_id": invoice["id"], "wallet_id": alice.wallet_id}

    by_mail = (await alice.post("/payments", body)).expect(201)["confirmation"]
    by_phone = (await alice.post("/payments", {**body, "method": "sms"})).expect(201)["confirmation"]

    assert (by_mail["method"], by_mail["sent_to"]) == ("email", "a***@example.com")
    assert (by_phone["method"], by_phone["sent_to"]) == ("sms", "+1•••0100")


async def test_a_payment_is_resent_and_canceled(api: Api) -> None:
    alice = await make_person(api)
    payment = await alice.start()

    again = (await alice.post(f"/payments/{payment['id']}/resend")).expect(200)
    assert (set(again), again["id"]) == (PAYMENT, payment["id"])
    assert again["confirmation"]["resends_remaining"] == 2
    assert again["confirmation"]["expires_at"] >= payment["confirmation"]["expires_at"]

    canceled = (await alice.post(f"/payments/{payment['id']}/cancel")).expect(200)
    assert set(canceled) == PAYMENT
    assert (canceled["status"], canceled["confirmation"]) == ("canceled", None)


async def test_payments_are_listed_newest_first_page_by_page(api: Api) -> None:
    alice = await make_person(api)
    ids = [(await alice.start(100))["id"] for _ in range(3)]

    first = (await alice.get("/payments?limit=2")).expect(200)
    rest = (await alice.get(f"/payments?limit=2&cursor={first['next_cursor']}")).expect(200)

    assert (set(first), first["has_more"]) == (PAGE, True)
    assert [payment["id"] for payment in (*first["data"], only(rest))] == ids[::-1]
    assert all(set(payment) == PAYMENT for payment in first["data"])
    for limit, status in (("1", 200), ("100", 200), ("101", 422)):
        assert (await alice.get(f"/payments?limit={limit}")).status == status


async def test_limits_are_those_of_the_currencies_of_the_users_wallets(api: Api) -> None:
    alice = await make_person(api)
    for currency, amount in (("EUR", 5_000), ("USD", 6_000), ("GBP", None)):
        (await api.operate("PUT", f"/limits/{currency}", {"amount": amount})).expect(200)

    limit = only((await alice.get("/limits")).expect(200))

    assert set(limit) == LIMIT
    assert_times(limit, "resets_at")
    assert (limit["rule"], limit["window"], limit["currency"]) == ("global", "day", "EUR")
    assert (limit["limit"], limit["used"], limit["remaining"]) == (5_000, 0, 5_000)
    assert (await api.get("/v1/limits", user="nobody")).expect(200)["data"] == []


async def test_limits_are_listed_page_by_page_like_everything_else(api: Api) -> None:
    for currency in ("USD", "CHF", "EUR"):
        (await api.operate("PUT", f"/limits/{currency}", {"amount": 1})).expect(200)

    first = (await api.operate("GET", "/limits?limit=2")).expect(200)
    rest = (await api.operate("GET", f"/limits?limit=2&cursor={first['next_cursor']}")).expect(200)

    assert [limit["currency"] for limit in first["data"]] == ["CHF", "EUR"]
    assert (first["has_more"], rest["has_more"], rest["next_cursor"]) == (True, False, None)
    assert [limit["currency"] for limit in rest["data"]] == ["USD"]


async def test_a_cursor_of_another_list_is_refused(api: Api) -> None:
    alice = await make_person(api)
    entries = f"/wallets/{alice.wallet_id}/entries"
    for path in ("/wallets", "/invoices", "/payments", "/limits", entries, "/admin/payments"):
        reply = await api.get(f"/v1{path}?cursor=msg_0010-0", admin=True)
        errors = reply.refuse(422, "validation_failed")["errors"]
        assert errors == [{"field": "cursor", "message": "has to be the next_cursor of an earlier page"}]
