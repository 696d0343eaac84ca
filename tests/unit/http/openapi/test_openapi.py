"""The OpenAPI document: valid, complete, and equal to the reviewed snapshot.

After an intended change, renew the snapshot and review the difference:
`PYTHONPATH=tests .venv/bin/python -m unit.http.openapi.test_openapi`
"""

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
    """The table of an application of `serve --demo`, which is not served here."""
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
    if "$ref" not in found:
        return found
    target: Any = DOCUMENT
    for part in found["$ref"].removeprefix("#/").split("/"):
        target = target[part]
    return dict(target)


def test_the_document_is_valid_openapi_3_1_and_every_reference_leads_somewhere() -> None:
    OpenAPIV31SpecValidator(json.loads(written(DOCUMENT))).validate()
    assert DOCUMENT["openapi"].startswith("3.1.")
    for part in written(DOCUMENT).split('"$ref": "#/components/schemas/')[1:]:
        assert part.partition('"')[0] in DOCUMENT["components"]["schemas"]


def test_the_document_is_the_snapshot() -> None:
    assert written(DOCUMENT) == SNAPSHOT.read_text(), "renew the snapshot if this change is meant: see above"


def test_every_route_but_pages_is_in_the_document_once_under_its_method_with_its_status() -> None:
    left_out = {route.path for route in TABLE_OF_ALL} - {route.path for route in ROUTES}
    assert left_out == {"/", "", "/docs/", "/docs/errors", "/docs/{asset}"}
    ids = [operation["operationId"] for operation in operations()]
    assert len(set(ids)) == len(ids) == len(ROUTES)
    for route in ROUTES:
        operation = DOCUMENT["paths"][route.path][route.method.lower()]
        assert operation["operationId"] == route.operation_id
        assert {str(status) for status in (route.status, *route.also)} <= set(operation["responses"])


def test_every_problem_names_its_codes_which_are_of_its_status_and_shows_each() -> None:
    examples = DOCUMENT["components"]["examples"]
    assert set(examples) == set(PROBLEMS)
    for status, response in responses():
        content = response.get("content", {}).get("application/problem+json")
        if content is None:
            assert status < "400" or status == "503"
            continue
        codes = content["schema"]["properties"]["code"]["enum"]
        assert codes == response["description"].replace("`", "").split(", ") == list(content["examples"])
        assert {PROBLEMS[code][0] for code in codes} == {int(status)}


def test_a_body_without_required_fields_can_be_left_out() -> None:
    async def refund(call: Call, *, amount: int | None = None) -> Response:
        """Refund a part."""
        raise NotImplementedError

    paths = openapi_document([*TABLE_OF_ALL, Route("POST", "/refund", ADMIN, refund)], __version__)["paths"]
    required = [paths[path]["post"]["requestBody"]["required"] for path in ("/refund", "/v1/payments")]
    assert required == [False, True]


def test_requests_are_closed_and_answers_are_open() -> None:
    requests = {
        operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        for operation in operations()
        if "requestBody" in operation
    } | {"SettlementRow"}  # a part of one
    for name, schema in DOCUMENT["components"]["schemas"].items():
        assert schema.get("additionalProperties", True) is (name not in requests), name


def test_parameters_and_members_are_described_and_have_neither_none_nor_a_default() -> None:
    for operation in operations():
        for parameter in operation["parameters"]:
            assert "$ref" in parameter or (parameter["description"] and "null" not in json.dumps(parameter))
    # The names of counters and process metrics are enough.
    plain = {"Checked", "Health", "RowCounts"}
    for name, schema in DOCUMENT["components"]["schemas"].items():
        assert "None" not in schema.get("description", ""), name
        for member, described in schema.get("properties", {}).items():
            # openapi-typescript makes clients send a member with a default.
            assert "default" not in described, f"{name}.{member}"
            if name not in plain or "description" in described:
                assert described.get("description"), f"{name}.{member}"
                assert "None" not in described["description"], f"{name}.{member}"


def test_every_request_and_every_answer_has_an_example_that_is_of_its_form() -> None:
    for operation in operations():
        contents = [resolve(response).get("content", {}) for response in operation["responses"].values()]
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


def test_only_operators_see_resolutions() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert "resolution" in schemas["OperatorPayment"]["required"]
    assert "resolution" not in schemas["Payment"]["properties"]
    for route in ROUTES:
        if route.model and route.model.__name__.endswith("Payment"):
            text = json.dumps(DOCUMENT["paths"][route.path][route.method.lower()]["responses"])
            assert ("schemas/OperatorPayment" in text) is (route.scope == ADMIN)


def test_tags_are_described() -> None:
    used = {tag for operation in operations() for tag in operation["tags"]}
    assert used == {tag["name"] for tag in DOCUMENT["tags"]}


if __name__ == "__main__":
    SNAPSHOT.write_text(written(DOCUMENT))
