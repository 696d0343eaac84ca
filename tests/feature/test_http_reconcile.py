"""`POST /v1/admin/reconcile`: its members, its bounds, and errors that name the row."""

import pytest
from support.fixtures.http_api import TIME, Api, make_person, members, unchanged
from support.fixtures.settlement_files import row, wait_for_relay

from technopay.http.client import Client
from technopay.storage import RedisStore

KIB = 1024


def body(*keys: str, **more: object) -> dict[str, object]:
    return {"rows": [row(key).model_dump() for key in keys], **more}


@pytest.mark.any_partition
async def test_an_operator_sees_each_difference(any_api: Api, store: RedisStore) -> None:
    alice = await make_person(any_api)
    first, second, third = [await alice.pay() for _ in range(3)]
    await wait_for_relay(store)
    async with unchanged(store):
        reply = await any_api.operate("POST", "/reconcile", body(first["id"], third["id"], "pay_00none"))
        found = reply.expect(200)

    assert set(found) == members("missing, extra, different, counts, settled_from, settled_to")
    assert TIME.fullmatch(found["settled_from"])
    assert found["settled_from"] == first["settled_at"]
    ours = {"amount": 2_500, "currency": "EUR", "outcome": "settled", "set_aside": False, "resolved": False}
    assert found["missing"] == [{"key": second["id"], "ours": ours, "theirs": None}]
    theirs = {"amount": 2_500, "currency": "EUR", "outcome": "settled"}
    assert found["extra"] == [{"key": "pay_00none", "ours": None, "theirs": theirs}]
    assert found["different"] == []
    assert found["counts"] == {"rows": 3, "equal": 2, "missing": 1, "extra": 1, "different": 0}
    period = {"from": third["settled_at"], "to": "2100-01-01T00:00:00.000Z"}
    later = (await any_api.operate("POST", "/reconcile", body(third["id"], **period))).expect(200)
    assert (later["missing"], later["settled_to"]) == ([], period["to"])


async def test_only_operators_compare_and_each_wrong_row_is_named(api: Api) -> None:
    (await api.post("/v1/admin/reconcile", body("pay_1"))).refuse(403, "forbidden")
    wrong = {
        "rows": [
            {"key": "pay_1", "amount": 12.5, "currency": "EUR", "outcome": "settled"},
            {"key": "pay_2", "amount": 0, "currency": "eur", "outcome": "paid", "fee": 1},
            {"key": 5, "amount": True},
            "pay_3",
        ]
    }
    problem = (await api.operate("POST", "/reconcile", wrong)).refuse(422, "validation_failed")
    assert {each["field"]: each["message"] for each in problem["errors"]} == {
        "rows.0.amount": "has to be a whole number of minor units",
        "rows.1.amount": "has to be 1 to 9007199254740991",
        "rows.1.currency": "has to be an ISO 4217 code like EUR, of a currency with a minor unit",
        "rows.1.outcome": "has to be 'settled', 'declined', 'called_off', 'reversed' or 'pending'",
        "rows.1.fee": "is not known here",
        "rows.2.key": "has to be a text",
        "rows.2.amount": "has to be a whole number of minor units",
        "rows.2.currency": "is missing",
        "rows.2.outcome": "is missing",
        "rows.3": "has to be an object",
    }
    twice = (await api.operate("POST", "/reconcile", body("pay_1", "pay_1"))).refuse(422, "validation_failed")
    assert twice["errors"] == [{"field": "rows.1.key", "message": "is that of rows.0, too"}]


async def test_a_thousand_rows_are_compared_and_one_more_is_refused(api: Api) -> None:
    many = [f"pay_00{'x' * 20}{number}" for number in range(1_001)]
    found = (await api.operate("POST", "/reconcile", body(*many[:-1]))).expect(200)
    assert (len(found["extra"]), found["counts"]["extra"]) == (1_000, 1_000)
    problem = (await api.operate("POST", "/reconcile", body(*many))).refuse(422, "validation_failed")
    assert problem["errors"] == [{"field": "rows", "message": "has to have at most 1000 rows"}]


async def test_a_body_of_256_kib_is_read_and_one_byte_more_is_not(api: Api) -> None:
    full = b'{"rows": []}' + b" " * (256 * KIB - 12)
    (await api.operate("POST", "/reconcile", raw=full)).refuse(422, "validation_failed")
    (await api.operate("POST", "/reconcile", raw=full + b" ")).refuse(413, "body_too_large")


async def test_the_typed_client_compares(api: Api) -> None:
    await make_person(api)
    token = api.token("operator", admin=True)
    async with Client(str(api.client.make_url("/")), token) as operator:
        found = await operator.reconcile(rows=[row("pay_00none")])
        assert found == await api.engine.reconcile(rows=[row("pay_00none")])
