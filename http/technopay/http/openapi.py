"""The OpenAPI 3.1 document, made from the table of routes and pydantic's schemas of the records."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from technopay.http.forms import NoBody, NoQuery
from technopay.http.problems import PROBLEMS
from technopay.http.routes import JSON, Route

REF = "#/components/schemas/{model}"
ANY_ROUTE_ERRORS = ("validation_failed", "store_unavailable", "outcome_unknown", "internal_error")
SIGNED_IN_ERRORS = ("unauthenticated", "forbidden", "overloaded", *ANY_ROUTE_ERRORS)
BODY_ERRORS = ("malformed_request", "body_too_large", "unsupported_media_type")
WALLET_ERRORS = ("wallet_busy", "overloaded")

PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457. Switch on `code`; the other members help to put it right.",
    "required": ["type", "title", "status", "detail", "code", "request_id", "retryable"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "enum": sorted(PROBLEMS)},
        "request_id": {"type": "string"},
        "retryable": {"type": "boolean"},
        "attempts_remaining": {"type": "integer"},
        "required": {"type": "integer"},
        "available": {"type": "integer"},
        "limit": {"$ref": "#/components/schemas/Limit"},
        "payment": {"$ref": "#/components/schemas/Payment"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}


def openapi_document(routes: Iterable[Route], version: str) -> dict[str, Any]:
    """Build the document."""
    table = list(routes)
    paths: dict[str, Any] = {}
    for route in table:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "technopay",
            "version": version,
            "summary": "Pays invoices from wallets, exactly once or not at all.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            "schemas": _schemas(table),
        },
    }


def _schemas(routes: list[Route]) -> dict[str, Any]:
    answers: set[type[BaseModel]] = {route.answer for route in routes if route.answer}
    bodies: set[type[BaseModel]] = {route.body for route in routes if route.body is not NoBody}
    models = [(model, "serialization") for model in answers] + [(model, "validation") for model in bodies]
    _, definitions = models_json_schema(
        sorted(models, key=lambda pair: pair[0].__name__),  # type: ignore[arg-type]
        ref_template=REF,
    )
    schemas: dict[str, Any] = definitions["$defs"]
    schemas["Problem"] = PROBLEM_SCHEMA
    return schemas


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.operation_id,
        "summary": route.summary,
        "tags": [route.scope or "open"],
        "parameters": _parameters(route),
        "responses": _responses(route),
    }
    if route.scope is None:
        operation["security"] = []
    if route.body is not NoBody:
        schema = {"$ref": REF.format(model=route.body.__name__)}
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation


def _parameters(route: Route) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", route.path)
    ]
    if route.query is not NoQuery:
        for name, schema in route.query.model_json_schema()["properties"].items():
            parameters.append({"name": name, "in": "query", "required": False, "schema": schema})
    if route.takes_key:
        parameters.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "description": "Makes a repeat safe: it gets the first answer. Kept for 72 hours.",
                "schema": {"type": "string", "minLength": 1, "maxLength": 255},
            }
        )
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
    schema: dict[str, Any] = {"type": "object"} if route.media == JSON else {"type": "string"}
    if route.answer:
        schema = {"$ref": REF.format(model=route.answer.__name__)}
    if route.is_list:
        schema = {
            "type": "object",
            "required": ["data", "has_more", "next_cursor"],
            "properties": {
                "data": {"type": "array", "items": schema},
                "has_more": {"type": "boolean"},
                "next_cursor": {"type": ["string", "null"]},
            },
        }
    responses: dict[str, Any] = {
        str(status): {
            "description": route.summary,
            "content": {route.media.partition(";")[0]: {"schema": schema}},
        }
        for status in (route.status, *route.also)
    }
    by_status: dict[int, list[str]] = {}
    for code in _errors(route):
        by_status.setdefault(PROBLEMS[code][0], []).append(code)
    for status, codes in sorted(by_status.items()):
        responses[str(status)] = {
            "description": ", ".join(f"`{code}`" for code in codes),
            "content": {"application/problem+json": {"schema": {"$ref": REF.format(model="Problem")}}},
        }
    return responses


def _errors(route: Route) -> tuple[str, ...]:
    errors = [*(SIGNED_IN_ERRORS if route.scope else ANY_ROUTE_ERRORS), *route.errors]
    if route.method != "GET":
        errors += [*BODY_ERRORS, *WALLET_ERRORS]
    if route.takes_key:
        errors.append("idempotency_key_reused")
    return tuple(dict.fromkeys(errors))
