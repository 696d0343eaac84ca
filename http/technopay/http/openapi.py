"""The OpenAPI 3.1 document, made from the table of routes and pydantic's schemas of the records."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from technopay.engine.fields import USER_ID
from technopay.http.about import ABOUT, TAGS
from technopay.http.answer import JSON
from technopay.http.auth import ADMIN
from technopay.http.examples import ANSWERS, IDS, RECORDS, problem_examples
from technopay.http.forms import NoBody, NoQuery
from technopay.http.problems import PROBLEMS
from technopay.http.render import record_json
from technopay.http.routes import Route
from technopay.http.schemas import answer_name, component_schemas, query_schemas, reference

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
"""Codes that are often alone with their status."""

HEADERS: dict[str, dict[str, Any]] = {
    "X-Request-Id": {
        "description": "The id of the request: your own, if it is 1 to 64 characters of A-Z a-z 0-9 . _ -",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
        "example": "9f3c5e0d7a21b846",
    },
    "Location": {
        "description": "The path of what was made or is to be looked at",
        "required": True,
        "schema": {"type": "string", "format": "uri-reference"},
        "example": f"/v1/payments/{IDS['payment_id']}",
    },
    "Retry-After": {
        "description": "In how many seconds to ask again",
        "required": True,
        "schema": {"type": "integer", "minimum": 0},
        "example": 1,
    },
    "Idempotent-Replayed": {
        "description": "It is there when this is the answer that an earlier request got, given again",
        "schema": {"type": "string", "enum": ["true"]},
    },
    "WWW-Authenticate": {
        "description": "That a bearer token is needed",
        "required": True,
        "schema": {"type": "string"},
        "example": 'Bearer realm="technopay", error="invalid_token"',
    },
    "Allow": {
        "description": "The methods of this address",
        "required": True,
        "schema": {"type": "string"},
        "example": "GET,HEAD",
    },
}

PROBLEM_HEADERS: dict[str, set[str]] = {
    "WWW-Authenticate": {"unauthenticated"},
    "Allow": {"method_not_allowed"},
    "Retry-After": {"rate_limited", "wallet_busy", "overloaded", "store_unavailable"},
    "Idempotent-Replayed": {"settlement_failed"},
}
"""Headers and the codes that they come with."""

PATH_PARAMETERS: dict[str, tuple[str, str]] = {
    "user_id": ("The id of a user in the caller's identity system", f"^{USER_ID.pattern}$"),
    "currency": ("An ISO 4217 code of a currency with a minor unit", "^[A-Z]{3}$"),
    **{
        f"{record}_id": (f"The id of the {record}", f"^{prefix}_[0-9A-Za-z_-]{{1,60}}$")
        for record, prefix in {"wallet": "wal", "invoice": "inv", "payment": "pay", "message": "msg"}.items()
    },
}
"""Description and pattern of what stands in paths."""

KEY_PARAMETER: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Makes a repeat safe: it gets the first answer. Kept for 72 hours.",
    # Without an example: /docs would send it with every request that somebody tries.
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!#-~]([ -~]*[!-~])?$"},
}


def openapi_document(routes: Iterable[Route], version: str) -> dict[str, Any]:
    """Build the document."""
    table = [route for route in routes if route.is_documented]
    paths: dict[str, Any] = {}
    for route in table:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "technopay",
            "version": version,
            "summary": "Pays invoices from wallets, exactly once or not at all.",
            "description": ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "A token from `technopay token`, or of a demo from `POST /mock/token`.",
                }
            },
            "schemas": component_schemas(table),
            "headers": HEADERS,
            "parameters": {"IdempotencyKey": KEY_PARAMETER},
            "examples": {
                code: {"summary": PROBLEMS[code][1], "value": problem}
                for code, problem in problem_examples().items()
            },
            "responses": {_camel_case(code): _problem_response([code]) for code in SHARED},
        },
    }


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
    if route.body is not NoBody:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": reference(route.body.__name__)}},
        }
    return operation


def _parameters(route: Route) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = []
    for name in re.findall(r"{(\w+)}", route.path):
        description, pattern = PATH_PARAMETERS[name]
        schema = {"type": "string", "pattern": pattern}
        parameters.append(
            {"name": name, "in": "path", "required": True, "description": description, "schema": schema}
            | {"example": IDS[name]}
        )
    if route.query is not NoQuery:
        for name, schema in query_schemas(route.query).items():
            description = schema.pop("description", "")
            parameters.append(
                {"name": name, "in": "query", "required": False, "description": description, "schema": schema}
            )
    if route.takes_key:
        parameters.append({"$ref": "#/components/parameters/IdempotencyKey"})
    if route.takes_last_event:
        parameters.append(
            {
                "name": "Last-Event-ID",
                "in": "header",
                "required": False,
                "description": "Go on after this event, instead of beginning now.",
                "schema": {"type": "string"},
            }
        )
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
    # Last, because what a route answers with goes before: /readyz tells of its store with 503.
    for status in (route.status, *route.also):
        responses[str(status)] = {
            "description": STATUS_TEXTS.get((route.operation_id, status), route.summary),
            "headers": _headers(_answer_headers(route, status)),
            "content": {route.media.partition(";")[0]: _content(route, status)},
        }
    return {status: responses[status] for status in sorted(responses)}


STATUS_TEXTS = {
    ("confirmPayment", 200): "Confirmed and settled",
    ("confirmPayment", 202): "Confirmed; the money is taken and the settlement goes on: look again",
    ("readyz", 200): "It can work",
    ("readyz", 503): "It cannot work now: it drains, or the store is not there",
}
"""What an answer means, where the summary of its route does not say it."""


def _content(route: Route, status: int) -> dict[str, Any]:
    if route.answer is None:
        return {"schema": {"type": "object"} if route.media == JSON else {"type": "string"}}
    content: dict[str, Any] = {"schema": reference(answer_name(route))}
    record = ANSWERS.get((route.operation_id, status)) or RECORDS.get(route.answer)
    if record is None:
        return content
    example = json.loads(record_json(record, operator=route.scope == ADMIN))
    if route.is_list:
        example = {"data": [example], "has_more": False, "next_cursor": None}
    return {**content, "example": example}


def _problem_response(codes: list[str]) -> dict[str, Any]:
    """Describe a problem: its schema is the same everywhere; beside it stand the codes that come here."""
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


def _answer_headers(route: Route, status: int) -> list[str]:
    headers = []
    if status in (201, 202):
        headers.append("Location")
    if status == 202:
        headers.append("Retry-After")
    # A repeat gets the first answer: by its key, or for a confirm, which may say 202, by the payment itself.
    if route.takes_key or status == 202 or 202 in route.also:
        headers.append("Idempotent-Replayed")
    return headers


def _headers(names: list[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-Id", *names)}


def _errors(route: Route) -> tuple[str, ...]:
    errors = [*(SIGNED_IN_ERRORS if route.scope else ANY_ROUTE_ERRORS), *route.errors]
    if route.method != "GET":
        errors += BODY_ERRORS
    if route.scope and route.method != "GET":
        errors.append("wallet_busy")
    if route.takes_key:
        errors.append("idempotency_key_reused")
    return tuple(dict.fromkeys(errors))
