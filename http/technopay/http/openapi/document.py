"""The OpenAPI 3.1 document, made from the table of routes and pydantic's schemas of the records."""

import json
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from pydantic import BaseModel

from technopay.engine import FieldError, Payment, ValidationFailed, __version__
from technopay.engine.fields import USER_ID
from technopay.http.api.route import Call, Route
from technopay.http.openapi.schemas import component_schemas, query_schemas, reference, response_name
from technopay.http.problems import ERRORS, PROBLEMS, problem_json
from technopay.http.responses import EVENT_STREAM, JSON, NO_CONTENT, Response


def _read(name: str) -> bytes:
    return files(__package__).joinpath(name).read_bytes()


@cache
def _examples() -> Any:
    return json.loads(_read("examples.json"))


REQUEST_ID = "9f3c5e0d7a21b846"
PROBLEM_JSON = "application/problem+json"
ANY_ROUTE_ERRORS = ("validation_failed", "internal_error")
SIGNED_IN_ERRORS = (
    "unauthenticated", "forbidden", "overloaded", "store_unavailable", "outcome_unknown", *ANY_ROUTE_ERRORS
)  # fmt: skip
BODY_ERRORS = ("malformed_request", "body_too_large", "unsupported_media_type")

SHARED = (
    "malformed_request", "unauthenticated", "forbidden", "not_found", "method_not_allowed", "body_too_large",
    "unsupported_media_type", "validation_failed", "internal_error", "outcome_unknown",
)  # fmt: skip
"""Codes that are often the only one of their status."""

PROBLEM_HEADERS: dict[str, set[str]] = {
    "WWW-Authenticate": {"unauthenticated"},
    "Allow": {"method_not_allowed"},
    "Retry-After": {"rate_limited", "wallet_busy", "overloaded", "store_unavailable", "archive_unavailable"},
    "Idempotent-Replayed": {"settlement_failed"},
}
"""Headers and the codes with which they are sent."""

PATH_PARAMETERS: dict[str, tuple[str, str]] = {
    "user_id": ("The id of the user in your identity system", f"^{USER_ID.pattern}$"),
    "currency": ("The ISO 4217 code of a currency with a minor unit", "^[A-Z]{3}$"),
    **{
        f"{record}_id": (f"The id of the {record}", f"^{prefix}_[0-9A-Za-z_-]{{1,60}}$")
        for record, prefix in {
            "wallet": "wal",
            "invoice": "inv",
            "payment": "pay",
            "message": "msg",
            "webhook": "whk",
            "delivery": "dlv",
        }.items()
    },
}
"""Description and pattern of the parameters in paths."""


def openapi_routes(routes: Sequence[Route]) -> Sequence[Route]:
    """Make the route of the document of all routes, its own one included."""

    async def openapi(call: Call) -> Response:
        """Show this document."""
        return Response(written(call.mount or "/"))

    @cache
    def written(mount: str) -> bytes:
        document = openapi_document((*routes, route), __version__)
        return json.dumps({**document, "servers": [{"url": mount}]}).encode()

    route = Route("GET", "/openapi.json", None, openapi)
    return (route,)


def openapi_document(routes: Iterable[Route], version: str) -> dict[str, Any]:
    table = [route for route in routes if route.is_documented]
    # The parameter IdempotencyKey in base.json has no example: /docs would send it with every request.
    document: dict[str, Any] = json.loads(_read("base.json"))
    document["info"] |= {"version": version, "description": _read("introduction.md").decode()}
    document["paths"] = {}
    for route in table:
        document["paths"].setdefault(route.path, {})[route.method.lower()] = _operation(route)
    components = document["components"]
    components["schemas"]["Problem"]["properties"]["code"]["examples"] = sorted(PROBLEMS)
    components["schemas"] |= component_schemas(table)
    components["examples"] = {
        code: {"summary": title, "value": _problem_example(code)}
        for code, (_, title) in sorted(PROBLEMS.items())
    }
    components["responses"] = {_camel_case(code): _problem_response([code]) for code in SHARED}
    return document


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.operation_id,
        "summary": route.summary,
        "tags": [route.tag or route.scope or "open"],
        "parameters": _parameters(route),
        "responses": _responses(route),
    }
    if route.description:
        operation["description"] = route.description
    if route.scope is None:
        operation["security"] = []
    if route.body.model_fields:
        operation["requestBody"] = {
            "required": not route.body.is_optional(),
            "content": {"application/json": {"schema": reference(route.body.__name__)}},
        }
    return operation


def _parameters(route: Route) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = []

    def add(name: str, place: str, description: str, schema: dict[str, Any], **more: str) -> None:
        described = {"name": name, "in": place, "required": place == "path", "description": description}
        parameters.append({**described, "schema": schema, **more})

    for name in route.path_names:
        description, pattern = PATH_PARAMETERS[name]
        schema = {"type": "string", "pattern": pattern}
        add(name, "path", description, schema, example=_path_example(name))
    for name, schema in query_schemas(route.query).items():
        add(name, "query", schema.pop("description", ""), schema)
    if route.takes_key:
        parameters.append({"$ref": "#/components/parameters/IdempotencyKey"})
    if route.media == EVENT_STREAM or route.streamed:
        add("Last-Event-ID", "header", "Start after this event instead of now.", {"type": "string"})
    return parameters


def _responses(route: Route) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    by_status: dict[int, list[str]] = {}
    for code in _errors(route):
        by_status.setdefault(PROBLEMS[code][0], []).append(code)
    for status, codes in by_status.items():
        shared = len(codes) == 1 and codes[0] in SHARED
        responses[str(status)] = (
            {"$ref": f"#/components/responses/{_camel_case(codes[0])}"} if shared else _problem_response(codes)
        )
    # Last: a response of the route replaces a problem, like the 503 of /readyz.
    for status in (route.status, *route.also):
        responses[str(status)] = {
            "description": STATUS_TEXTS.get((route.operation_id, status), route.summary),
            "headers": _headers(_response_headers(route, status)),
        }
        if status != NO_CONTENT:
            responses[str(status)]["content"] = {route.media.partition(";")[0]: _content(route, status)}
        if route.also_media:
            responses[str(status)]["content"][route.also_media] = {"schema": {"type": "string"}}
        if route.streamed:
            schema = {"schema": reference(route.streamed.__name__)}
            responses[str(status)]["content"][EVENT_STREAM] = schema
    return {status: responses[status] for status in sorted(responses)}


STATUS_TEXTS = {
    ("confirmPayment", 200): "Confirmed and settled",
    ("confirmPayment", 202): "Confirmed; the money is taken and the settlement goes on: look again",
    ("readyz", 200): "The process can work",
    ("readyz", 503): "The process cannot work now: it drains, or the store is unavailable",
}
"""The meaning of a status that the summary of the route does not say."""


def _content(route: Route, status: int) -> dict[str, Any]:
    if route.model is None:
        return {"schema": {"type": "object"} if route.media == JSON else {"type": "string"}}
    content: dict[str, Any] = {"schema": reference(response_name(route))}
    name = route.model.__name__
    record = _examples()["records"].get(name.removeprefix("Operator"))
    if record is None:
        return content
    changes = _examples()["responses"].get(f"{route.operation_id} {status}", {})
    if "Payment" in name and "status" in changes:
        record = _payment_example(changes["status"])
    example = _example(route.model, {**record, **changes})
    if route.is_list:
        example = {"data": [example], "has_more": False, "next_cursor": None}
    return {**content, "example": example}


def _example(model: type[BaseModel], values: Any) -> dict[str, Any]:
    """Return an example as responses are written; fields that it leaves out have their default."""
    return model.model_validate(values).model_dump(mode="json")


def _payment_example(status: str) -> dict[str, Any]:
    return {**_examples()["records"]["Payment"], "status": status, **_examples()["payments"][status]}


def _path_example(name: str) -> str:
    record = name.removesuffix("_id").capitalize()
    return str(_examples()["records"][record]["id"]) if name.endswith("_id") else "EUR"


def _problem_example(code: str) -> dict[str, Any]:
    if code == ValidationFailed.code:
        return problem_json(ValidationFailed([FieldError("amount", "has to be at least 1")]), REQUEST_ID)
    details = dict(_examples()["problems"].get(code, {}))
    if "payment" in details:
        details["payment"] = _example(Payment, _payment_example(details["payment"]))
    return problem_json(ERRORS[code](), REQUEST_ID) | details


def _problem_response(codes: list[str]) -> dict[str, Any]:
    """Describe a problem: the common schema, and beside it the codes of this response."""
    status = PROBLEMS[codes[0]][0]
    headers = [header for header, causes in PROBLEM_HEADERS.items() if causes & set(codes)]
    return {
        "description": ", ".join(f"`{code}`" for code in codes),
        "headers": _headers(headers),
        "content": {
            PROBLEM_JSON: {
                "schema": {
                    **reference("Problem"),
                    "properties": {"code": {"enum": codes}, "status": {"const": status}},
                },
                "examples": {code: {"$ref": f"#/components/examples/{code}"} for code in codes},
            }
        },
    }


def _camel_case(code: str) -> str:
    return "".join(word.capitalize() for word in code.split("_"))


def _response_headers(route: Route, status: int) -> list[str]:
    headers = []
    if route.also_media:
        headers.append("Link")
    if status in (201, 202):
        headers.append("Location")
    if status == 202:
        headers.append("Retry-After")
    # A repeat is recognised by its key, or for a confirm, which can be 202, by the payment itself.
    if route.takes_key or status == 202 or 202 in route.also:
        headers.append("Idempotent-Replayed")
    return headers


def _headers(names: list[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-Id", *names)}


def _errors(route: Route) -> tuple[str, ...]:
    own = [*getattr(route.operation, "errors", ()), *route.errors]
    errors = [*(SIGNED_IN_ERRORS if route.scope else ANY_ROUTE_ERRORS), *(error.code for error in own)]
    if route.method != "GET":
        errors += BODY_ERRORS
    if route.scope and route.method != "GET":
        errors.append("wallet_busy")
    if route.takes_key:
        errors.append("idempotency_key_reused")
    return tuple(dict.fromkeys(errors))
