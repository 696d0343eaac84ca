"""The OpenAPI document: valid, complete, and the same as the one that was looked at.

After a change that is meant, renew the snapshot and look at the difference:
`PYTHONPATH=tests .venv/bin/python -m unit.http.openapi.test_openapi`
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from openapi_spec_validator import OpenAPIV31SpecValidator
from support.fixtures.engine_setup import SECRET

from technopay.engine import Engine, EngineSettings, __version__
from technopay.http.api.demo import mock_routes
from technopay.http.api.route import Call, Route
from technopay.http.app import ROUTES as APP_ROUTES
from technopay.http.app import create_app
from technopay.http.auth.tokens import ADMIN, TokenAuthenticator, TokenSigner
from technopay.http.openapi.document import openapi_document
from technopay.http.problems import PROBLEMS
from technopay.http.responses import Response
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
    table: tuple[Route, ...] = app[APP_ROUTES]
    return table


TABLE_OF_ALL = all_routes()
ROUTES = [route for route in TABLE_OF_ALL if route.is_documented]
DOCUMENT = openapi_document(TABLE_OF_ALL, __version__)


def written(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def operations() -> list[dict[str, Any]]:
    return [operation for path in DOCUMENT["paths"].values() for operation in path.values()]


def responses() -> list[tuple[str, dict[str, Any]]]:
    return [
        (status, resolve(response))
        for operation in operations()
        for status, response in operation["responses"].items()
    ]


def resolve(found: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference, if it is one."""
    if "$ref" not in found:
        return found
    target: Any = DOCUMENT
    for part in found["$ref"].removeprefix("#/").split("/"):
        target = target[part]
    return dict(target)


def test_the_document_is_valid_openapi_3_1() -> None:
    OpenAPIV31SpecValidator(json.loads(written(DOCUMENT))).validate()
    assert DOCUMENT["openapi"].startswith("3.1.")


def test_the_document_is_the_snapshot() -> None:
    assert written(DOCUMENT) == SNAPSHOT.read_text(), "renew the snapshot if this change is meant: see above"


def test_operation_ids_are_unique() -> None:
    ids = [operation["operationId"] for operation in operations()]
    assert len(set(ids)) == len(ids) == len(ROUTES)


def test_nothing_but_pages_is_left_out() -> None:
    left_out = {route.path for route in TABLE_OF_ALL} - {route.path for route in ROUTES}
    assert left_out == {"/", "", "/docs/", "/docs/errors", "/docs/{asset}"}


def test_every_route_is_in_the_document_under_its_method_with_its_status() -> None:
    for route in ROUTES:
        operation = DOCUMENT["paths"][route.path][route.method.lower()]
        assert operation["operationId"] == route.operation_id
        assert {str(status) for status in (route.status, *route.also)} <= set(operation["responses"])


def test_every_problem_names_its_codes_which_are_of_its_status_and_shows_each() -> None:
    examples = DOCUMENT["components"]["examples"]
    assert set(examples) == set(PROBLEMS)
    for status, response in responses():
        content = response["content"].get("application/problem+json")
        if content is None:
            continue
        codes = content["schema"]["properties"]["code"]["enum"]
        assert codes == response["description"].replace("`", "").split(", ") == list(content["examples"])
        assert {PROBLEMS[code][0] for code in codes} == {int(status)}


def test_an_error_of_a_route_is_a_problem() -> None:
    for status, response in responses():
        assert status < "400" or "application/problem+json" in response["content"] or status == "503"


def test_a_body_without_required_fields_can_be_left_out() -> None:
    async def refund(call: Call, *, amount: int | None = None) -> Response:
        """Refund a part."""
        raise NotImplementedError

    paths = openapi_document([*TABLE_OF_ALL, Route("POST", "/refund", ADMIN, refund)], __version__)["paths"]
    required = [paths[path]["post"]["requestBody"]["required"] for path in ("/refund", "/v1/payments")]
    assert required == [False, True]


def test_a_reference_leads_somewhere() -> None:
    text = written(DOCUMENT)
    for part in text.split('"$ref": "#/components/schemas/')[1:]:
        assert part.partition('"')[0] in DOCUMENT["components"]["schemas"]


def test_requests_are_closed_and_answers_are_open() -> None:
    requests = {
        operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        for operation in operations()
        if "requestBody" in operation
    }
    for name, schema in DOCUMENT["components"]["schemas"].items():
        assert schema.get("additionalProperties", True) is (name not in requests), name


def test_what_can_be_left_out_of_a_body_has_no_default() -> None:
    # openapi-typescript makes clients give what has one.
    for schema in DOCUMENT["components"]["schemas"].values():
        assert not any("default" in member for member in schema.get("properties", {}).values())


def test_every_parameter_and_every_member_of_a_request_or_answer_is_what_it_says() -> None:
    for operation in operations():
        for parameter in operation["parameters"]:
            assert "$ref" in parameter or (parameter["description"] and "null" not in json.dumps(parameter))


def test_every_request_and_every_answer_has_an_example_that_is_of_its_form() -> None:
    for operation in operations():
        contents = [resolve(response)["content"] for response in operation["responses"].values()]
        if "requestBody" in operation:
            contents.append(operation["requestBody"]["content"])
        for media, content in [pair for found in contents for pair in found.items()]:
            if not media.endswith("json") or "$ref" not in content["schema"]:
                continue
            examples = [resolve(each)["value"] for each in content.get("examples", {}).values()]
            if "example" in content:
                examples.append(content["example"])
            examples += resolve(content["schema"]).get("examples", ())
            assert examples, operation["operationId"]
            for example in examples:
                schema = {**content["schema"], "components": DOCUMENT["components"]}
                Draft202012Validator(schema, format_checker=FormatChecker()).validate(example)


def test_operators_see_resolutions_and_users_do_not_hear_of_them() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert "resolution" in schemas["OperatorPayment"]["required"]
    assert "resolution" not in schemas["Payment"]["properties"]
    for route in ROUTES:
        if route.model and route.model.__name__.endswith("Payment"):
            text = json.dumps(DOCUMENT["paths"][route.path][route.method.lower()]["responses"])
            assert ("schemas/OperatorPayment" in text) is (route.scope == ADMIN)


def test_members_are_described_and_have_no_none() -> None:
    # Counts and the state of a process say by their names what they are.
    plain = {"Checked", "Health"}
    for name, schema in DOCUMENT["components"]["schemas"].items():
        assert "None" not in schema.get("description", ""), name
        for member, described in schema.get("properties", {}).items():
            if name in plain and "description" not in described:
                continue
            assert described.get("description"), f"{name}.{member}"
            assert "None" not in described["description"], f"{name}.{member}"


def test_tags_are_described() -> None:
    used = {tag for operation in operations() for tag in operation["tags"]}
    assert used == {tag["name"] for tag in DOCUMENT["tags"]}


if __name__ == "__main__":
    SNAPSHOT.write_text(written(DOCUMENT))
