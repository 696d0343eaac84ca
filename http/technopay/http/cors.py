"""Pages of other origins (CORS): which may use the API, and what their browsers ask before they do."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from aiohttp import web

from technopay.http.answer import Answer

PREFLIGHT_HEADERS = {
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, X-Request-Id",
    "Access-Control-Max-Age": "600",
}
EXPOSED = "Location, Retry-After, Idempotent-Replayed, X-Request-Id"


class Cors:
    """Tells browsers that pages of some origins may read what is answered. An origin is matched exactly."""

    def __init__(self, origins: Collection[str]) -> None:
        self._headers = {
            origin: {
                "Vary": "Origin",
                "Access-Control-Allow-Origin": origin,
                "Access-Control-Expose-Headers": EXPOSED,
            }
            for origin in origins
        }
        self._else = {"Vary": "Origin"} if origins else {}

    def headers_for(self, request: web.Request) -> Mapping[str, str]:
        """Return the headers that every answer to a request has."""
        return self._headers.get(request.headers.get("Origin", ""), self._else)

    def answer_preflight(self, request: web.Request, allowed: str) -> Answer | None:
        """Answer whether a page may send a request of these methods; None if that was not asked."""
        is_asked = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        if not is_asked or request.headers.get("Origin") not in self._headers:
            return None
        headers = {"Access-Control-Allow-Methods": allowed.replace(",", ", "), **PREFLIGHT_HEADERS}
        return Answer(b"", headers=headers, media="text/plain; charset=utf-8")
