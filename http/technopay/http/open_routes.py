"""The routes that need no sign-in: health, metrics, and the documentation."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import BaseModel

from technopay.engine import TechnopayError
from technopay.http.admission import Admission
from technopay.http.answer import JSON, Answer
from technopay.http.docs import docs_routes
from technopay.http.metrics import Metrics
from technopay.http.routes import Call, Route

METRICS_MEDIA = "text/plain; version=0.0.4"


class Health(BaseModel):
    """How a process is: `ok`, `draining`, or the code of what is wrong."""

    status: str
    mocks: list[str] = []
    """The services that are mocks: no real money or message goes through them."""


def open_routes(
    metrics: Metrics, admission: Admission, document: Callable[[], Mapping[str, Any]]
) -> Sequence[Route]:
    """Make the routes."""

    async def livez(_: Call) -> Answer:
        return _health("ok")

    async def readyz(call: Call) -> Answer:
        mocks = call.engine.statistics.mocks
        if admission.draining:
            return _health("draining", mocks)
        try:
            await call.engine.check()
        except TechnopayError as error:
            return _health(error.code, mocks)
        return _health("ok", mocks)

    async def show_metrics(_: Call) -> Answer:
        return Answer(await metrics.render(), media=METRICS_MEDIA)

    @cache
    def written(mount: str) -> bytes:
        return json.dumps({**document(), "servers": [{"url": mount}]}).encode()

    async def show_document(call: Call) -> Answer:
        return Answer(written(call.mount or "/"))

    return (
        Route("GET", "/livez", "livez", "Whether the process lives", None, livez, Health, ignores_query=True),
        Route(
            "GET", "/readyz", "readyz", "Whether the process can work now", None, readyz, Health, also=(503,),
            ignores_query=True,
        ),
        Route(
            "GET", "/metrics", "metrics", "Metrics for Prometheus", None, show_metrics, None,
            media=METRICS_MEDIA, ignores_query=True,
        ),
        Route("GET", "/openapi.json", "openapi", "This document", None, show_document, None, media=JSON),
        *docs_routes(),
    )  # fmt: skip


def _health(status: str, mocks: Sequence[str] = ()) -> Answer:
    body = Health(status=status, mocks=list(mocks)).model_dump_json(exclude_defaults=True)
    return Answer(body.encode(), 200 if status == "ok" else 503)
