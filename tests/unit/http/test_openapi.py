"""The OpenAPI document: valid, complete, and the same as the one that was looked at.

After a change that is meant, renew the snapshot and look at the difference:
`PYTHONPATH=tests .venv/bin/python -m unit.http.test_openapi`
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from openapi_spec_validator import OpenAPIV31SpecValidator
from support.scenes import SECRET

from technopay.engine import Engine, EngineSettings
from technopay.http import TokenAuthenticator, TokenSigner, create_app, mock_routes
from technopay.http.app import TABLE, VERSION
from technopay.http.openapi import openapi_document
from technopay.http.problems import PROBLEMS
from technopay.http.routes import Route
from technopay.storage import RedisStore

SNAPSHOT = Path(__file__).with_name("openapi.json")


def all_routes() -> tuple[Route, ...]:
    """The table of an application of `serve --demo`, which is never served here."""
    store = RedisStore.fake()
    app = create_app(
        Engine(store, EngineSettings(secret=SECRET)),
        TokenAuthenticator(SECRET),
        more_routes=mock_routes(store, TokenSigner(SECRET)),
    )
    table: tuple[Route, ...] = app[TABLE]
    return table


ROUTES = all_routes()
DOCUMENT = openapi_document(ROUTES, VERSION)


def written(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def operations() -> list[dict[str, Any]]:
    return [operation for path in DOCUMENT["paths"].values() for operation in path.values()]


def test_the_document_is_valid_openapi_3_1() -> None:
    OpenAPIV31SpecValidator(json.loads(written(DOCUMENT))).validate()
    assert DOCUMENT["openapi"].startswith("3.1.")


def test_the_document_is_the_snapshot() -> None:
    assert written(DOCUMENT) == SNAPSHOT.read_text(), "renew the snapshot if this change is meant: see above"


def test_operation_ids_are_unique() -> None:
    ids = [operation["operationId"] for operation in operations()]
    assert len(set(ids)) == len(ids) == len(ROUTES)


def test_every_route_is_in_the_document_under_its_method_with_its_status() -> None:
    for route in ROUTES:
        operation = DOCUMENT["paths"][route.path][route.method.lower()]
        assert operation["operationId"] == route.operation_id
        assert {str(status) for status in (route.status, *route.also)} <= set(operation["responses"])


def test_every_code_that_a_route_lists_is_a_problem_of_its_status() -> None:
    for operation in operations():
        for status, response in operation["responses"].items():
            for code in response["description"].replace("`", "").split(", ") if status >= "400" else ():
                assert PROBLEMS[code][0] == int(status)


def test_a_reference_leads_somewhere() -> None:
    text = written(DOCUMENT)
    for part in text.split('"$ref": "#/components/schemas/')[1:]:
        assert part.partition('"')[0] in DOCUMENT["components"]["schemas"]


def test_bodies_and_records_have_no_unknown_members() -> None:
    for name, schema in DOCUMENT["components"]["schemas"].items():
        assert name in ("Problem", "Inbox", "Token", "Event") or schema["additionalProperties"] is False, name


if __name__ == "__main__":
    SNAPSHOT.write_text(written(DOCUMENT))
