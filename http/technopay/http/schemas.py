"""The schemas of the document: pydantic's, made fit for those who read them and generate clients from them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from technopay.engine import Payment
from technopay.http.auth import ADMIN
from technopay.http.forms import Form, NoBody
from technopay.http.problems import PROBLEMS
from technopay.http.render import OPERATORS_ONLY
from technopay.http.routes import Route

REF = "#/components/schemas/{model}"
OPERATOR_PAYMENT = "OperatorPayment"

PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "An error (RFC 9457). Switch on `code`; the members that are not required help.",
    "required": ["type", "title", "status", "detail", "code", "request_id", "retryable"],
    "properties": {
        "type": {"type": "string", "description": "`urn:technopay:problem:` and the code"},
        "title": {
            "type": "string",
            "description": "What the code means; the same for every problem with this code",
        },
        "status": {"type": "integer", "description": "The status of the answer"},
        "detail": {
            "type": "string",
            "description": "What is wrong this time, for people; its words may change",
        },
        "code": {
            "type": "string",
            "description": "What programs go by; more may come",
            "examples": sorted(PROBLEMS),
        },
        "request_id": {"type": "string", "description": "The `X-Request-Id` of the answer; the log knows it"},
        "retryable": {
            "type": "boolean",
            "description": (
                "Whether the same request can succeed within seconds or minutes "
                "without anybody changing anything"
            ),
        },
        "attempts_remaining": {"type": "integer", "description": "How often a code can still be tried"},
        "required": {"type": "integer", "description": "The amount that is needed, in minor units"},
        "available": {"type": "integer", "description": "The amount that is there, in minor units"},
        "limit": {"$ref": REF.format(model="Limit"), "description": "The limit that refused it"},
        "payment": {"$ref": REF.format(model="Payment"), "description": "The payment as it is now"},
        "locked_until": {
            "type": "string",
            "format": "date-time",
            "description": "Until when wrong codes lock the user out",
        },
        "invoice_id": {"type": "string", "description": "The invoice that has the reference"},
        "errors": {
            "type": "array",
            "description": "What is wrong with which field of the request",
            "items": {"$ref": REF.format(model="FieldError")},
        },
    },
}
FIELD_ERROR: dict[str, Any] = {
    "type": "object",
    "description": "One field of a request that is not of the right form.",
    "required": ["field", "message"],
    "properties": {
        "field": {"type": "string", "description": "Its name; parts of a path are joined by dots"},
        "message": {"type": "string", "description": "The rule that it breaks"},
    },
}


class Generator(GenerateJsonSchema):
    """Leaves out titles, which only say a name again."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        """Answer no."""
        return False


def reference(model: str) -> dict[str, Any]:
    """Refer to a schema."""
    return {"$ref": REF.format(model=model)}


def answer_name(route: Route) -> str:
    """Answer the name of the schema of what a route answers."""
    assert route.answer is not None
    name = route.answer.__name__
    if route.answer is Payment and route.scope == ADMIN:
        name = OPERATOR_PAYMENT
    return f"{name}Page" if route.is_list else name


def query_schemas(query: type[Form]) -> dict[str, dict[str, Any]]:
    """Answer the schema of every parameter of a query. A query has no null: what is not given is left out."""
    properties: dict[str, dict[str, Any]] = query.model_json_schema(schema_generator=Generator)["properties"]
    return {name: _without_null(schema) for name, schema in properties.items()}


def component_schemas(routes: Iterable[Route]) -> dict[str, Any]:
    """Build the schemas that the routes refer to.

    Requests are closed: an unknown member is refused. Answers are open: members may be added to them, and
    clients have to live with those that they do not know.
    """
    table = list(routes)
    answers = {route.answer for route in table if route.answer}
    bodies = {route.body for route in table if route.body is not NoBody}
    schemas = {**_definitions(answers, "serialization"), **_definitions(bodies, "validation")}
    for name in _definitions(answers, "serialization"):
        schemas[name].pop("additionalProperties", None)
    for schema in schemas.values():
        for member in schema.get("properties", {}).values():
            # Generators take what has a default for something that is always there.
            member.pop("default", None)
    if "Payment" in schemas:
        _part_payments(schemas)
    for route in table:
        if route.is_list:
            schemas[answer_name(route)] = _page(answer_name(route).removesuffix("Page"))
    return {name: schemas[name] for name in sorted(schemas)} | {"Problem": PROBLEM, "FieldError": FIELD_ERROR}


def _definitions(models: Iterable[type[BaseModel]], mode: Any) -> dict[str, Any]:
    wanted = [(model, mode) for model in sorted(models, key=lambda model: model.__name__)]
    _, definitions = models_json_schema(wanted, ref_template=REF, schema_generator=Generator)
    found: dict[str, Any] = definitions["$defs"]
    for schema in found.values():
        schema.pop("title", None)
    return found


def _part_payments(schemas: dict[str, Any]) -> None:
    """Tell the payment that users see from the one that operators see."""
    whole = schemas["Payment"]
    schemas[OPERATOR_PAYMENT] = {**whole, "description": f"{whole['description']} As operators see it."}
    schemas["Payment"] = {
        **whole,
        "properties": {n: schema for n, schema in whole["properties"].items() if n not in OPERATORS_ONLY},
        "required": [name for name in whole["required"] if name not in OPERATORS_ONLY],
    }


def _page(model: str) -> dict[str, Any]:
    return {
        "type": "object",
        "description": "Some of a list, newest first.",
        "required": ["data", "has_more", "next_cursor"],
        "properties": {
            "data": {"type": "array", "description": "The records of this page", "items": reference(model)},
            "has_more": {"type": "boolean", "description": "Whether there is more behind it"},
            "next_cursor": {
                "type": ["string", "null"], "description": "The `cursor` of the next page; null on the last one"
            },
        },
    }  # fmt: skip


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    kept = {
        name: value for name, value in schema.items() if name != "anyOf" and (name, value) != ("default", None)
    }
    return {**kept, **kinds[0]} if len(kinds) == 1 else schema
