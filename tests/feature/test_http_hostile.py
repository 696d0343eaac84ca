"""Hostile requests: each is refused with its code, never with a 5xx or a traceback, and changes nothing."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator

import pytest
from support.fixtures.http_api import Api, Json, Person, Reply, in_seconds, make_person, unchanged
from support.fixtures.raw_http import heard

from technopay.http.problems import MalformedRequest
from technopay.http.requests import _refuse_duplicates

DEEP = b"[" * 33 + b"]" * 33


@pytest.fixture
async def alice(api: Api) -> AsyncIterator[Person]:
    """A user with a wallet and an invoice; the test must not change the store."""
    alice = await make_person(api)
    await alice.invoice()
    async with unchanged(api.store):
        yield alice


def verdict(reply: Reply) -> tuple[int, str]:
    return reply.status, reply.code


NOT_JSON = [
    b"",
    b" ",
    b"{",
    b"amount=1",
    b"{'amount': 1}",
    b'{"amount": 1,}',
    b'{"amount": 01}',
    b'{"amount": 1} x',
    b'{"amount": 1}\x00',
    b'{"amount": NaN}',
    b'{"amount": Infinity}',
    b'{"amount": -Infinity}',
    b'{"amount": 1, "amount": 1}',
    b'{"amount": 1, "x": {"a": 1, "a": 2}}',
    b'{"amount": 1, "\\u0061mount": 1}',
    b'{"amount": ' + b"9" * 21 + b"}",
    b'{"amount": 0.' + b"0" * 20 + b"1}",
    b'{"amount": ' + b"9" * 10_000 + b"}",
    DEEP,
    b'{"amount": ' + b'{"a":' * 32 + b"1" + b"}" * 33,
    b"[" * 8_000,
    b'\xef\xbb\xbf{"amount": 1}',
    b'{"amount": "\xff"}',
    b"\xff\xfe",
    '{"amount": 1}'.encode("utf-16"),
    b'{"\\ud800": 1}',
    b'{"amount": "\\udfff"}',
    b'{"amount": "\x01"}',
]


async def test_json_that_parsers_disagree_about_is_malformed(api: Api, alice: Person) -> None:
    for raw in NOT_JSON:
        for path in (f"/v1/admin/wallets/{alice.wallet_id}/deposit", "/v1/payments", "/mock/token"):
            reply = await api.post(path, raw=raw, admin=True)
            assert (raw, *verdict(reply)) == (raw, 400, "malformed_request")
    empty = await api.operate("POST", "/users", raw=b"")
    assert empty.json["detail"] == "The body is empty."


AMOUNTS = ["0", "-1", "-0", "1.0", "1e2", "0.5", "1e400", "true", "false", "null", '"1"', '"x"', "[1]", "{}"]
AMOUNTS += [str(2**53), str(2**63), "9" * 20, "-" + "9" * 20]


async def test_an_amount_is_a_whole_number_from_1_to_2_to_the_53_less_1(api: Api, alice: Person) -> None:
    invoice = json.dumps({name: value for name, value in INVOICE.items() if name != "amount"}).encode()
    for amount in AMOUNTS:
        raw = f'{{"amount": {amount}}}'.encode()
        replies = [
            await api.operate("POST", f"/wallets/{alice.wallet_id}/deposit", raw=raw),
            await api.operate("POST", "/invoices", raw=invoice[:-1] + b", " + raw[1:]),
        ]
        if amount not in ("0", "-0", "null"):
            replies.append(await api.operate("PUT", "/limits/EUR", raw=raw))
        for reply in replies:
            (error,) = reply.refuse(422, "validation_failed")["errors"]
            assert (amount, error["field"]) == (amount, "amount")


async def test_a_body_has_to_be_an_object(api: Api, alice: Person) -> None:
    for raw in (b"null", b"[]", b"1", b'"x"', b"true"):
        reply = await api.operate("POST", "/users", raw=raw)
        assert (raw, *verdict(reply)) == (raw, 422, "validation_failed")


INVOICE: Json = {
    "user_id": "alice", "amount": 1, "currency": "EUR", "merchant": "m", "expires_at": "2036-01-01T00:00:00Z",
}  # fmt: skip
FIELDS: list[tuple[str, Json, str]] = [
    ("/users", {"id": "a\n"}, "id"),
    ("/users", {"id": "１"}, "id"),
    ("/users", {"id": 1}, "id"),
    ("/users", {"id": "x", "email": "no address"}, "email"),
    ("/users", {"id": "x", "phone": "+1555\n"}, "phone"),
    ("/users", {"id": "x", "status": "active"}, "status"),
    ("/users", {"email": "a@example.com"}, "id"),
    ("/wallets", {"user_id": "alice", "currency": "eur"}, "currency"),
    ("/wallets", {"user_id": "alice", "currency": "ABC"}, "currency"),
    ("/wallets", {"user_id": "alice", "currency": "EUR", "balance": 5}, "balance"),
    ("/invoices", {"merchant": "m" * 129}, "merchant"),
    ("/invoices", {"merchant": "a\u202eb"}, "merchant"),
    ("/invoices", {"description": "d" * 501}, "description"),
    ("/invoices", {"reference": "r" * 129}, "reference"),
    ("/invoices", {"expires_at": "2036-01-01"}, "expires_at"),
    ("/invoices", {"expires_at": "2036-01-01T00:00:00"}, "expires_at"),
    ("/invoices", {"expires_at": "2036-01-01T00:00Z"}, "expires_at"),
    ("/invoices", {"expires_at": "2036-13-01T00:00:00Z"}, "expires_at"),
    ("/invoices", {"expires_at": "2036-01-01T00:00:00+24:00"}, "expires_at"),
    ("/invoices", {"expires_at": "9999-12-31T23:59:59-23:59"}, "expires_at"),
    ("/invoices", {"expires_at": "0001-01-01T00:00:00+23:59"}, "expires_at"),
    ("/invoices", {"expires_at": "2100000000"}, "expires_at"),
    ("/invoices", {"expires_at": 2_100_000_000}, "expires_at"),
    ("/invoices", {"expires_at": "1999-01-01T00:00:00Z"}, "expires_at"),
    ("/invoices", {"expires_at": in_seconds(-1)}, "expires_at"),
    ("/invoices", {"status": "paid"}, "status"),
    ("/payments/pay_00x/resolve", {"outcome": "paid", "note": "n"}, "outcome"),
    ("/payments/pay_00x/resolve", {"outcome": "refund", "note": ""}, "note"),
    ("/payments/pay_00x/resolve", {"outcome": "refund", "note": "n" * 501}, "note"),
]
"""Some cases of each field; tests/unit/engine/test_fields.py and tests/unit/http/api have the rest."""


async def test_a_field_of_the_wrong_form_is_named(api: Api, alice: Person) -> None:
    for path, changes, field in FIELDS:
        body = INVOICE | changes if path == "/invoices" else changes
        problem = (await api.operate("POST", path, body)).refuse(422, "validation_failed")
        assert (changes, [error["field"] for error in problem["errors"]]) == (changes, [field])


LIMITS = ["", "0", "101", "-1", "1.0", "1e1", "+1", "%201", "1_0", "%EF%BC%91", "%D9%A1", "x", "%00"]
WAITS = ["nan", "inf", "-1", "10.1", "1e1", "", "%201", "+1", "1_0", "%EF%BC%91", "9" * 4_000, ".5"]
QUERIES = [
    "/v1/wallets?x=1",
    "/v1/wallets?limit=1&limit=1",
    "/v1/wallets?Limit=1",
    "/v1/wallets/wal_00x?limit=1",
    "/v1/limits?x=",
    "/v1/payments?user_id=alice",
    "/v1/payments/pay_00x?wait=1&wait=1",
    *(f"/v1/invoices?limit={limit}" for limit in LIMITS),
    *(f"/v1/payments?cursor={cursor}" for cursor in ("..", "%C3%84", "%00", "%FF", "a" * 65, "%D9%A1", "'")),
    *(f"/v1/payments/pay_00x?wait={wait}" for wait in WAITS),
    "/v1/admin/payments?status=paid",
    "/v1/admin/payments?user_id=a%2Fb",
    "/v1/admin/payments?user_id=alice%0A",
    "/v1/admin/payments?set_aside=perhaps",
    "/v1/admin/notifications?status=lost",
    "/v1/admin/notifications?set_aside=true",
    "/v1/admin/notifications?user_id=a%2Fb",
    "/v1/admin/limits?currency=EUR",
]


async def test_a_parameter_that_is_unknown_twice_or_of_the_wrong_form_is_refused(
    api: Api, alice: Person
) -> None:
    for path in QUERIES:
        reply = await api.get(path, admin=True)
        assert (path, *verdict(reply)) == (path, 422, "validation_failed")


STRANGE = ["..", "%2e%2e", "a%2Fb", "%2F", "%00", "%0A", "%FF", "%ED%A0%80", "%C3%A9", "%F0%9F%92%A5"]
STRANGE += ["*", "a:b", "x" * 1_000, "pay_00" + "0" * 70, "PAY_00x", "pay_", "alice%20", "%25"]


POSTS: list[tuple[str, str, Json | None]] = [
    ("users", "block", None), ("users", "unblock", None), ("users", "unlock", None),
    ("wallets", "activate", None), ("wallets", "deactivate", None), ("wallets", "deposit", {"amount": 1}),
    ("invoices", "void", None), ("payments", "refund", None),
    ("payments", "resolve", {"outcome": "settled", "note": "n"}), ("notifications", "send", None),
]  # fmt: skip


async def test_a_strange_id_does_not_exist(api: Api, alice: Person) -> None:
    for strange in STRANGE:
        wallet = f"/v1/wallets/{strange}"
        for path in (wallet, f"{wallet}/entries", f"{wallet}/statement", f"/v1/invoices/{strange}"):
            assert (path, (await api.get(path)).status) == (path, 404)
        (await api.get(f"/v1/payments/{strange}?wait=10")).refuse(404, "payment_not_found")
        for action, body in (("confirm", {"code": "1"}), ("resend", None), ("cancel", None)):
            (await api.post(f"/v1/payments/{strange}/{action}", body)).refuse(404, "payment_not_found")
        for kind, action, body in POSTS:
            path = f"/{kind}/{strange}"
            code = "not_found" if kind == "notifications" else f"{kind[:-1]}_not_found"
            assert (await api.operate("POST", f"{path}/{action}", body)).refuse(404, code), path
            if kind != "notifications":
                assert (path, (await api.operate("GET", path)).status) == (path, 404)
        (await api.operate("PUT", f"/limits/{strange}", {"amount": 1})).refuse(422, "validation_failed")
        assert (await api.get(f"/mock/inbox/{strange}", user=None)).expect(200) == {"data": []}


async def test_a_body_of_16_kib_is_read_and_one_byte_more_is_not(api: Api, alice: Person) -> None:
    full = b'{"id": 1}' + b" " * (16 * 1024 - 9)
    (await api.operate("POST", "/users", raw=full)).refuse(422, "validation_failed")
    (await api.operate("POST", "/users", raw=full + b" ")).refuse(413, "body_too_large")


MEDIA_TYPES = ["", "json", "text/plain", "text/json", "application/x-www-form-urlencoded"]
MEDIA_TYPES += ["application/json; charset=utf-16", "application/json; charset=latin-1"]
MEDIA_TYPES += [f"application/json; x={'x' * 128}", "application/json;" + 'x="' * 2_000]
MEDIA_TYPES += ["application/problem+json", "multipart/form-data; boundary=x"]
ENCODINGS = ["gzip", "deflate", "br", "zstd", "compress", "rot13", "identity, gzip", "", "\t"]


async def test_a_body_that_is_not_declared_as_plain_json_is_refused_unread(api: Api, alice: Person) -> None:
    for declared in MEDIA_TYPES:
        reply = await api.operate("POST", "/users", {"id": "x"}, headers={"Content-Type": declared})
        assert (declared, *verdict(reply)) == (declared, 415, "unsupported_media_type")
    for encoding in ENCODINGS:
        for raw in (gzip.compress(b'{"id": 1}'), gzip.compress(b" " * 10_000_000), b'{"id": 1}', b""):
            reply = await api.operate("POST", "/users", raw=raw, headers={"Content-Encoding": encoding})
            assert (encoding, *verdict(reply)) == (encoding, 415, "unsupported_media_type")
    plain = {"Content-Encoding": "Identity"}
    (await api.operate("POST", "/users", raw=b'{"id": 1}', headers=plain)).refuse(422, "validation_failed")


async def test_many_parameters_or_members_are_refused_in_short(api: Api, alice: Person) -> None:
    many = [f"n{number}" for number in range(1_200)]
    query, body = "&".join(many), json.dumps(dict.fromkeys(many, 1)).encode()
    replies = [
        await api.get(f"/openapi.json?{query}", user=None),
        await api.get(f"/v1/payments?{query}"),
        await api.get(f"/v1/payments?{'&' * 32}"),
        await api.operate("POST", "/users", raw=body),
        await api.operate("POST", "/users", raw=b'{"id": ' + body + b"}"),
    ]
    for reply in replies:
        problem = reply.refuse(422, "validation_failed")
        assert len(problem["errors"]) == 1
        assert len(reply.text) < 1_000
    assert [reply.json["errors"][0]["field"] for reply in replies] == 3 * ["query"] + 2 * ["body"]


async def test_only_the_first_errors_are_shown_with_their_names_cut(api: Api, alice: Person) -> None:
    names = [f"{number}{'x' * 200}" for number in range(20)]
    replies = [
        await api.get(f"/v1/payments?{'&'.join(names)}"),
        await api.operate("POST", "/users", dict.fromkeys(names, 1)),
    ]
    for reply in replies:
        problem = reply.refuse(422, "validation_failed")
        assert len(problem["errors"]) == 16
        assert len(reply.text) < 5_000
    twice = (await api.get(f"/v1/payments?{names[0]}&{names[0]}")).refuse(422, "validation_failed")
    assert twice["errors"] == [{"field": names[0][:64], "message": "has to be given once"}]


async def test_a_duplicate_member_behind_thousands_is_found_in_linear_time() -> None:
    def steps(length: int) -> int:
        """Count the comparisons of names in the check."""
        compared = 0

        class Name(str):
            __slots__ = ()
            __hash__ = str.__hash__

            def __eq__(self, other: object) -> bool:
                nonlocal compared
                compared += 1
                return str.__eq__(self, other)

        pairs = [(Name(number), 1) for number in range(length)]
        with pytest.raises(MalformedRequest, match=f'"{length - 1}" twice'):
            _refuse_duplicates([*pairs, (Name(length - 1), 1)])
        return compared

    assert steps(2_000) < 3 * steps(1_000)


BYTES = [
    ([b"GET /v1/admin/users/\xff HTTP/1.1"], 400),
    ([b"GET /v1/admin/payments?limit=\xff HTTP/1.1"], 400),
    ([b"G\xff /v1/wallets HTTP/1.1"], 400),
    ([b"GET /v1/admin/limits HTTP/1.1", b"X: " + b"x" * 9_000], 400),
    ([b"GET /v1/wallets HTTP/1.1", b"Authorization: Bearer \xff\xfe"], 401),
    ([b"POST /v1/admin/users HTTP/1.1", b"Idempotency-Key: \xff", b"Content-Length: 0"], 400),
    ([b"POST /v1/payments/x/cancel HTTP/1.1", b"Idempotency-Key: a", b"Content-Length: 0"], 404),
    ([b"POST /v1/payments/x/cancel HTTP/1.1", *[b"Idempotency-Key: a"] * 2, b"Content-Length: 0"], 400),
    ([b"POST /v1/admin/users HTTP/1.1", b"Content-Type: \xff", b"Content-Length: 0"], 415),
    ([b"POST /v1/admin/users HTTP/1.1", b"Content-Length: 2", b"Content-Length: 3"], 400),
    ([b"POST /v1/admin/users HTTP/1.1", b"Content-Length: 0", b"Content-Encoding: br"], 415),
    ([b"POST /v1/admin/users HTTP/1.1", b"Content-Length: 0", b"Expect: a miracle"], 400),
    ([b"POST /nowhere HTTP/1.1", b"Content-Length: 0", b"Expect: a miracle"], 400),
    ([b"OPTIONS * HTTP/1.1"], 404),
    ([b"GET /v1/payments/{} HTTP/1.1"], 404),
    ([b"GET http://elsewhere/v1/admin/limits HTTP/1.1", b"X-Request-Id: \xff"], 200),
]


async def test_strange_bytes_are_no_defect_of_ours(api: Api, alice: Person) -> None:
    server = api.client.server
    token = f"Authorization: Bearer {api.token('operator', admin=True)}".encode()
    for (first, *lines), status in BYTES:
        if not any(line.startswith(b"Authorization") for line in lines):
            lines.append(token)
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(b"\r\n".join([first, b"Host: here", b"Connection: close", *lines, b"", b""]))
        told = await heard(reader)
        writer.close()
        assert (first, lines, told.status) == (first, lines, status)
        assert b"Traceback" not in told.raw
