"""Origins of browsers: pages of other origins that may use the API (CORS), and the guard of a demo."""

from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

from aiohttp import web

from technopay.http.problems import ForeignRequest
from technopay.http.requests import Address, parse_address
from technopay.http.responses import Response

PREFLIGHT_HEADERS = {
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, X-Request-Id",
    "Access-Control-Max-Age": "600",
}
EXPOSED = "Location, Link, Retry-After, Idempotent-Replayed, X-Request-Id"


class Cors:
    """Lets pages of some origins read responses. An origin is compared exactly."""

    def __init__(self, origins: Collection[str]) -> None:
        self._headers = {
            origin: {
                "Vary": "Origin",
                "Access-Control-Allow-Origin": origin,
                "Access-Control-Expose-Headers": EXPOSED,
            }
            for origin in origins
        }

    def headers_for(self, request: web.Request) -> Mapping[str, str]:
        """Return the headers of every response to a request."""
        return self._headers.get(request.headers.get("Origin", ""), {"Vary": "Origin"})

    def preflight_response(self, request: web.Request, allowed: str) -> Response | None:
        """Return the response to a preflight of an allowed origin, or None for any other request."""
        is_preflight = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        if not is_preflight or request.headers.get("Origin") not in self._headers:
            return None
        headers = {"Access-Control-Allow-Methods": allowed.replace(",", ", "), **PREFLIGHT_HEADERS}
        return Response(b"", headers=headers, media="text/plain; charset=utf-8")


class DemoGuard:
    """Refuses a request to a foreign host name (DNS rebinding) or from a page of a foreign origin.

    Own host names are loopback names and addresses and the listened address. A demo that listens on every
    address of the machine accepts every address as host, but no name: a foreign page has its own name.
    """

    def __init__(self, host: str, origins: Collection[str] = ()) -> None:
        """`host` is the listened address; pages of `origins` are accepted."""
        self._host = host.lower()
        address = parse_address(self._host)
        self._is_everywhere = address is not None and address.is_unspecified
        self._origins = frozenset(origins)

    def __call__(self, request: web.Request) -> None:
        """Raise ForeignRequest for a foreign host or origin."""
        hosts = [host.lower() for host in request.headers.getall("Host", [])]
        if len(hosts) != 1 or not self._is_own(hosts[0], request):
            raise ForeignRequest
        for origin in request.headers.getall("Origin", []):
            if origin.lower() not in self._origins and origin.lower().partition("://")[2] != hosts[0]:
                raise ForeignRequest

    def _is_own(self, host: str, request: web.Request) -> bool:
        name = _host_name(host)
        if name in ("localhost", self._host):
            return True
        address = parse_address(name)
        if address is None:
            return False
        return address.is_loopback or self._is_everywhere or address == _local_address(request)


def _host_name(host: str) -> str:
    """Return the name or address in a Host header; '' if it is malformed."""
    try:
        parts = urlsplit(f"//{host}")
        # `port` raises if it is no number.
        is_plain = parts.netloc == host and "@" not in host and parts.port != 0
    except ValueError:
        return ""
    return (parts.hostname or "").removesuffix(".") if is_plain else ""


def _local_address(request: web.Request) -> Address | None:
    """Return the address of this machine to which the client is connected."""
    name = request.transport and request.transport.get_extra_info("sockname")
    return parse_address(name[0]) if name else None
