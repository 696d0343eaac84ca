"""Statements over HTTP: as JSON, or as CSV to a client that accepts it."""

import csv
import io
import re
from collections.abc import Mapping
from urllib.parse import urlencode

import pytest
from support.fixtures.http_api import ENTRY, PAGE, TIME, Api, Json, Person, Reply, make_person

STATEMENT = PAGE | {"opening_balance", "closing_balance", "currency"}
AS_CSV = {"Accept": "text/csv"}
COLUMNS = [
    "at", "kind", "amount", "balance_after", "currency", "payment_id", "refund_id", "reference", "note", "by"
]  # fmt: skip


async def statement(alice: Person, **query: str | int) -> Json:
    """Read a statement as the user and as an operator: they are the same."""
    path = f"/wallets/{alice.wallet_id}/statement?{urlencode(query)}"
    found: Json = (await alice.get(path)).expect(200)
    assert (await alice.api.operate("GET", path)).expect(200) == found
    return found


def rows_of(reply: Reply) -> list[dict[str, str]]:
    assert (reply.status, reply.headers["Content-Type"]) == (200, "text/csv; charset=utf-8; header=present")
    header, *rows = csv.reader(io.StringIO(reply.text, newline=""), strict=True)
    assert header == COLUMNS
    return [dict(zip(header, row, strict=True)) for row in rows]


async def test_a_statement_is_oldest_first_between_its_balances(api: Api) -> None:
    alice = await make_person(api)
    payment = await alice.pay(2_500)
    (await api.operate("POST", f"/payments/{payment['id']}/refund", {"amount": 500})).expect(200)

    found = await statement(alice)

    assert set(found) == STATEMENT
    assert list(found)[:5] == ["opening_balance", "closing_balance", "data", "has_more", "next_cursor"]
    assert all(set(entry) == ENTRY and TIME.fullmatch(entry["at"]) for entry in found["data"])
    assert [(each["kind"], each["amount"], each["balance_after"]) for each in found["data"]] == [
        ("deposit", 10_000, 10_000), ("payment", -2_500, 7_500), ("refund", 500, 8_000)
    ]  # fmt: skip
    assert (found["opening_balance"], found["closing_balance"], found["currency"]) == (0, 8_000, "EUR")
    later = await statement(alice, **{"from": found["data"][1]["at"]})
    assert (later["opening_balance"], later["data"]) == (10_000, found["data"][1:])
    earlier = await statement(alice, to=found["data"][1]["at"])
    assert (earlier["closing_balance"], earlier["data"]) == (10_000, found["data"][:1])
    first = await statement(alice, limit=2)
    rest = await statement(alice, limit=2, cursor=first["next_cursor"])
    assert first["data"] + rest["data"] == found["data"]
    assert (first["has_more"], rest["has_more"], rest["next_cursor"]) == (True, False, None)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"from": "yesterday"}, "from"), ({"to": "2036-01-01"}, "to"), ({"to": "2036-01-01T00:00:00"}, "to"),
        ({"from": "2036-01-01T00:00:00Z", "to": "2036-01-01T01:00:00+01:00"}, "to"),
        ({"at_from": "2036-01-01T00:00:00Z"}, "at_from"), ({"cursor": "0.1.99"}, "cursor"),
        ({"cursor": "1"}, "cursor"), ({"cursor": "9" * 65}, "cursor"), ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"), ({"x": "1"}, "x"),
    ],
)  # fmt: skip
async def test_what_is_no_range_and_no_page_is_refused(api: Api, query: Mapping[str, str], field: str) -> None:
    alice = await make_person(api)
    path = f"/wallets/{alice.wallet_id}/statement?{urlencode(query)}"
    for headers in ({}, AS_CSV):
        for reply in (
            await alice.get(path, headers=headers), await api.operate("GET", path, headers=headers)
        ):  # fmt: skip
            assert [each["field"] for each in reply.refuse(422, "validation_failed")["errors"]] == [field]


async def test_a_wallet_of_somebody_else_does_not_exist(api: Api) -> None:
    alice, bob = await make_person(api), await make_person(api, "bob")
    for headers in ({}, AS_CSV):
        for wallet_id in (alice.wallet_id, "wal_00none", "x"):
            reply = await bob.get(f"/wallets/{wallet_id}/statement", headers=headers)
            reply.refuse(404, "wallet_not_found")
        reply = await api.operate("GET", "/wallets/wal_00none/statement", headers=headers)
        reply.refuse(404, "wallet_not_found")


async def test_csv_adds_up_and_goes_on_by_links(api: Api) -> None:
    alice = await make_person(api)
    for amount in (100, 200, 300, 400):
        await api.operate("POST", f"/wallets/{alice.wallet_id}/deposit", {"amount": amount})
    payment = await alice.pay(2_500)
    whole = await statement(alice)

    path, rows, pages = f"/v1/wallets/{alice.wallet_id}/statement?limit=4", list[dict[str, str]](), 0
    while path:
        reply = await api.get(path, headers=AS_CSV)
        rows, pages = rows + rows_of(reply), pages + 1
        link = re.fullmatch('<(/v1/wallets/[^>]+)>; rel="next"', reply.headers.get("Link", ""))
        path = link[1] if link else ""
        await api.operate("POST", f"/wallets/{alice.wallet_id}/deposit", {"amount": 9_999})

    assert pages == 2
    opening, *entries, closing = rows
    assert (opening["kind"], opening["balance_after"], opening["amount"]) == ("opening_balance", "0", "")
    assert (closing["kind"], closing["balance_after"], closing["amount"]) == ("closing_balance", "8500", "")
    assert sum(int(row["amount"]) for row in entries) == 8_500
    assert [(row["at"], row["kind"], int(row["amount"])) for row in entries] == [
        (entry["at"], entry["kind"], entry["amount"]) for entry in whole["data"]
    ]
    assert (entries[-1]["payment_id"], entries[-1]["currency"]) == (payment["id"], "EUR")


async def test_csv_of_an_operator_links_to_its_own_path_and_an_empty_one_has_its_balances(api: Api) -> None:
    alice = await make_person(api)
    await alice.pay()
    path = f"/wallets/{alice.wallet_id}/statement"
    reply = await api.operate("GET", f"{path}?limit=1", headers=AS_CSV)
    assert reply.headers["Link"] == f'</v1/admin{path}?limit=1&cursor=0.1.2>; rel="next"'
    assert [row["kind"] for row in rows_of(reply)] == ["opening_balance", "deposit"]
    last = await api.operate("GET", f"{path}?limit=1&cursor=0.1.2", headers=AS_CSV)
    assert "Link" not in last.headers
    assert [row["kind"] for row in rows_of(last)] == ["payment", "closing_balance"]
    empty = rows_of(await alice.get(f"{path}?from=2100-01-01T00:00:00Z", headers=AS_CSV))
    assert [(row["kind"], row["balance_after"]) for row in empty] == [
        ("opening_balance", "7500"), ("closing_balance", "7500")
    ]  # fmt: skip


async def test_a_text_of_a_csv_is_no_formula(api: Api) -> None:
    alice = await make_person(api, balance=0)
    path = f"/wallets/{alice.wallet_id}"
    texts = ("=1+1", "+1", "-1", "@A1", "a, b", 'say "x"', "Öl – 漢字 🙂", "two\nlines", "plain")
    for text in texts:
        reference = text.replace("\n", " ")
        body = {"amount": 1, "reference": reference, "note": text}
        (await api.operate("POST", f"{path}/deposit", body)).expect(200)
    await api.operate("POST", f"{path}/withdraw", {"amount": 2, "note": "=cmd"})

    _, *rows, _ = rows_of(await alice.get(f"{path}/statement", headers=AS_CSV))

    assert [row["note"] for row in rows] == [f"'{each}" for each in texts[:4]] + [*texts[4:], "'=cmd"]
    assert rows[0]["reference"] == "'=1+1"
    assert [row["amount"] for row in rows] == ["1"] * len(texts) + ["-2"], "numbers stay numbers"


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("text/csv", "text/csv"), ("TEXT/CSV; charset=utf-8", "text/csv"), ("text/csv, */*", "text/csv"),
        ("application/json;q=0.5, text/csv", "text/csv"), ("text/csv;q=0.2, */*;q=0.1", "text/csv"),
        ("", "application/json"), ("*/*", "application/json"), ("text/*", "application/json"),
        ("text/csv;q=0", "application/json"), ("application/json, text/csv", "application/json"),
        ("application/json, text/csv;q=0.9", "application/json"), ("text/html", "application/json"),
        ("text/csvx", "application/json"), ("text/csv;q=nan", "application/json"), (",;,", "application/json"),
    ],
)  # fmt: skip
async def test_accept_chooses_the_media(api: Api, accept: str, media: str) -> None:
    alice = await make_person(api)
    reply = await alice.get(f"/wallets/{alice.wallet_id}/statement", headers={"Accept": accept})
    assert (reply.status, reply.headers["Content-Type"].partition(";")[0]) == (200, media)
    assert set(reply.headers["Vary"].split(", ")) == {"Accept", "Origin"}


@pytest.mark.parametrize("headers", [{}, AS_CSV], ids=["json", "csv"])
async def test_head_has_the_headers_of_get(api: Api, headers: Mapping[str, str]) -> None:
    alice = await make_person(api)
    await alice.pay()
    path = f"/v1/wallets/{alice.wallet_id}/statement?limit=1"
    read, head = await api.get(path, headers=headers), await api.call("HEAD", path, headers=headers)
    assert (head.status, head.text) == (200, "")
    for name in ("Content-Type", "Content-Length", "Vary", "Link"):
        assert head.headers.get(name) == read.headers.get(name)


async def test_a_long_page_of_csv_is_whole(api: Api) -> None:
    alice = await make_person(api, balance=0)
    note = "\N{PILE OF POO}" * 500
    for _ in range(40):
        await api.engine.deposit(wallet_id=alice.wallet_id, amount=1, note=note)
    rows = rows_of(await alice.get(f"/wallets/{alice.wallet_id}/statement?limit=100", headers=AS_CSV))
    assert [row["note"] for row in rows] == ["", *[note] * 40, ""]
