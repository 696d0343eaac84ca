"""The schemas of the document, made by pydantic, in a form for readers and for generators of clients."""

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from technopay.http.api.route import Route
from technopay.http.requests import Form

REF = "#/components/schemas/{model}"


class Generator(GenerateJsonSchema):
    """Leaves out titles, which only repeat a name."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False


def reference(model: str) -> dict[str, Any]:
    return {"$ref": REF.format(model=model)}


def response_name(route: Route) -> str:
    """Return the name of the schema of a route's response."""
    assert route.model is not None
    return f"{route.model.__name__}Page" if route.is_list else route.model.__name__


def query_schemas(query: type[Form]) -> dict[str, dict[str, Any]]:
    """Return the schema of every parameter of a query. A query has no null: a parameter is left out instead."""
    schema = query.model_json_schema(schema_generator=Generator)
    return {name: _without_null(each) for name, each in schema.get("properties", {}).items()}


def component_schemas(routes: Iterable[Route]) -> dict[str, Any]:
    """Return the schemas to which the routes refer.

    Requests are closed: an unknown member is refused. Responses are open: they may get new members, and clients
    have to ignore unknown ones.
    """
    table = list(routes)
    models = {model for route in table for model in (route.model, route.streamed) if model}
    responses = _definitions(models, "serialization")
    for schema in responses.values():
        schema.pop("additionalProperties", None)
    bodies = _definitions({route.body for route in table if route.body.model_fields}, "validation")
    schemas = {**responses, **bodies}
    for schema in schemas.values():
        for member in schema.get("properties", {}).values():
            # To generators of clients, a default means that the member is always there.
            member.pop("default", None)
    for route in table:
        if route.model and route.is_list:
            schemas[response_name(route)] = _page(route.model.__name__)
    return {name: schemas[name] for name in sorted(schemas)}


def _definitions(models: Iterable[type[BaseModel]], mode: Any) -> dict[str, Any]:
    wanted = [(model, mode) for model in sorted(models, key=lambda model: model.__name__)]
    _, definitions = models_json_schema(wanted, ref_template=REF, schema_generator=Generator)
    found: dict[str, Any] = definitions["$defs"]
    for schema in found.values():
        schema.pop("title", None)
    return found


def _page(model: str) -> dict[str, Any]:
    return {
        "type": "object",
        "description": "A page of a list, newest first.",
        "required": ["data", "has_more", "next_cursor"],
        "properties": {
            "data": {"type": "array", "description": "The records of this page", "items": reference(model)},
            "has_more": {"type": "boolean", "description": "Whether there are more pages"},
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
