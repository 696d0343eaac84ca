"""The order of the refusals of HTTP itself; that of the engine is in test_library_precedence.py."""

from support.fixtures.http_api import Api

LARGE = b"[" * 33 + b" " * 16_384
"""Too large, nested too deeply, and no JSON."""

TEXT = {"Content-Type": "text/plain"}


async def test_route_and_method_come_before_sign_in(api: Api) -> None:
    (await api.post("/v1/nothing", user=None)).refuse(404, "not_found")
    (await api.call("DELETE", "/v1/payments", user=None)).refuse(405, "method_not_allowed")


async def test_sign_in_comes_before_the_scope_and_the_scope_before_the_form(api: Api) -> None:
    options = {"raw": LARGE, "headers": TEXT, "key": " "}
    (await api.post("/v1/admin/users?x=1", user=None, **options)).refuse(401, "unauthenticated")
    (await api.post("/v1/admin/users?x=1", **options)).refuse(403, "forbidden")


async def test_a_bad_header_comes_before_the_body_its_size_before_its_type_and_that_before_its_content(
    api: Api,
) -> None:
    path = "/v1/payments?x=1"
    (await api.post(path, raw=LARGE, headers=TEXT, key="\t")).refuse(400, "malformed_request")
    (await api.post(path, raw=LARGE, headers=TEXT)).refuse(413, "body_too_large")
    (await api.post(path, raw=b"{", headers=TEXT)).refuse(415, "unsupported_media_type")
    for raw in (b'{"x": NaN}', b'{"x": 1, "x": 2}'):
        (await api.post(path, raw=raw)).refuse(400, "malformed_request")


async def test_fields_and_parameters_come_before_what_does_not_exist(api: Api) -> None:
    (await api.post("/v1/payments", {"invoice_id": "x"}, user="nobody")).refuse(422, "validation_failed")
    (await api.post("/v1/payments/x/confirm?wait=11", {"code": "1"})).refuse(422, "validation_failed")
    (await api.get("/v1/wallets/x/entries?limit=0")).refuse(422, "validation_failed")
