"""Responses before they are sent: a body, a status and headers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from aiohttp import web
from pydantic import BaseModel
from pydantic_core import to_json

from technopay.engine import TechnopayError
from technopay.engine.record import Record
from technopay.http.access_record import RequestRecord
from technopay.http.problems import problem_headers, problem_json

JSON = "application/json; charset=utf-8"
EVENT_STREAM = "text/event-stream"
PROBLEM = "application/problem+json; charset=utf-8"
NO_CONTENT = 204

SAFE_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Server": "technopay"}
"""Headers of every response. aiohttp's own `Server` would show versions."""
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@dataclass(slots=True)
class Response:
    """A response with a complete body."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    media: str = JSON
    subject: BaseModel | None = None
    """The record in the body, for observers."""

    def to_web(self, record: RequestRecord) -> web.Response:
        """Return it as a response of aiohttp."""
        headers = {**common_headers(record, self.media), **self.headers}
        return web.Response(body=self.body, status=self.status, headers=headers)


def common_headers(record: RequestRecord, media: str) -> dict[str, str]:
    """Return the headers of every response to a request."""
    extra = record.extra_headers or {}
    typed = {"Content-Type": media} if media else {}
    return {**typed, "X-Request-Id": record.request_id, **SAFE_HEADERS, **extra}


def record_response(
    record: BaseModel, model: type[BaseModel], *, status: int = 200, headers: Mapping[str, str] = NO_HEADERS
) -> Response:
    """Return a response with a record, written as a model, which can be a base class of the record's."""
    if isinstance(record, Record) and record.replayed:
        headers = {**headers, "Idempotent-Replayed": "true"}
    # As `model_dump_json`, without the detour through a text.
    return Response(model.__pydantic_serializer__.to_json(record), status, headers, subject=record)


def problem_response(error: TechnopayError, record: RequestRecord) -> Response:
    """Return a response with an error."""
    problem = problem_json(error, record.request_id, record.payment_model)
    headers = {**problem_headers(error), "Link": f'<{record.mount}/docs/errors#{error.code}>; rel="help"'}
    return Response(to_json(problem), problem["status"], headers, PROBLEM)
