"""Health, metrics, the audit and the archive."""

from collections.abc import Sequence

from pydantic import BaseModel

from technopay.engine import Engine, TechnopayError
from technopay.http.api.route import Call, Route
from technopay.http.auth.tokens import ADMIN
from technopay.http.metrics import METRICS
from technopay.http.responses import Response

METRICS_MEDIA = "text/plain; version=0.0.4"


AUDIT_ROUTES = (
    Route(
        "GET", "/v1/admin/audit", ADMIN, Engine.audit, deadline="audit_deadline_s",
        description="Every balance, limit and status, from the journal. It takes a while on a big store.",
    ),
    Route("GET", "/v1/admin/archive", ADMIN, Engine.get_archive),
)  # fmt: skip


class Health(BaseModel):
    """The state of a process: `ok`, `draining`, or the code of an error."""

    status: str
    mocks: list[str] = []
    """The services that are mocks: they move no real money and send no real message."""


async def livez(_: Call) -> Response:
    """Check that the process is alive."""
    return _health("ok")


async def readyz(call: Call) -> Response:
    """Check that the process can work now."""
    mocks = call.engine.statistics.mocks
    if call.concurrency.draining:
        return _health("draining", mocks)
    try:
        await call.engine.check()
    except TechnopayError as error:
        return _health(error.code, mocks)
    return _health("ok", mocks)


async def metrics(call: Call) -> Response:
    """Show metrics for Prometheus."""
    return Response(await call.request.app[METRICS].render(), media=METRICS_MEDIA)


HEALTH_ROUTES = (
    Route("GET", "/livez", None, livez, result=Health, ignores_query=True),
    Route("GET", "/readyz", None, readyz, also=(503,), result=Health, ignores_query=True),
)
METRICS_ROUTES = (Route("GET", "/metrics", None, metrics, media=METRICS_MEDIA, ignores_query=True),)


def _health(status: str, mocks: Sequence[str] = ()) -> Response:
    body = Health(status=status, mocks=list(mocks)).model_dump_json(exclude_defaults=True)
    return Response(body.encode(), 200 if status == "ok" else 503)
