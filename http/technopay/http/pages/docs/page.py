"""The page at `/docs`: the OpenAPI document to read and to try out, without the internet."""

import hashlib
import re
from collections.abc import Mapping
from functools import cache
from html import escape
from importlib.resources import files

from technopay.http.api.route import Call, Route
from technopay.http.problems import PROBLEMS, NotFound
from technopay.http.responses import Response

HTML = "text/html; charset=utf-8"
MEDIA = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}
ASSETS = ("vendor/swagger-ui-bundle.js", "vendor/swagger-ui.css", "docs.js", "docs.css")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing of another origin and nothing inline; the icons of Swagger UI are data."""
HEADERS = {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"}
ONE_YEAR = "public, max-age=31536000, immutable"


async def docs(_: Call) -> Response:
    """Show this document, to read and to try out."""
    return _page_response("")


async def docs_below(_: Call) -> Response:
    """Show the same with a slash at the end."""
    return _page_response("../")


async def docs_asset(_: Call, asset: str) -> Response:
    """Load a script or a style; a digest in its name lets browsers keep it."""
    found = _assets().get(asset)
    if found is None:
        raise NotFound
    return Response(found, headers={"Cache-Control": ONE_YEAR}, media=MEDIA[asset[asset.rindex(".") :]])


async def docs_errors(_: Call) -> Response:
    """Show every code of a problem; each has an anchor, to which problems link."""
    rows = [
        f'<dt id="{code}"><code>{code}</code></dt><dd>{status}: {escape(title)}</dd>'
        for code, (status, title) in PROBLEMS.items()
    ]
    page = _read("errors.html").decode().replace("{rows}", "\n".join(rows))
    return Response(page.encode(), headers=HEADERS, media=HTML)


DOCS_ROUTES = (
    Route("GET", "/docs", None, docs, media=HTML),
    Route("GET", "/docs/", None, docs_below, is_documented=False),
    Route("GET", "/docs/errors", None, docs_errors, is_documented=False),
    Route("GET", "/docs/{asset}", None, docs_asset, is_documented=False),
)


def _page_response(up: str) -> Response:
    """Return the page; `up` leads from its address to the parent of /docs."""
    return Response(_page(up).encode(), headers=HEADERS, media=HTML)


@cache
def _page(up: str) -> str:
    """Return the page with the current names of its assets."""
    text = _read("docs.html").decode().replace("{up}", up)
    for name in _assets():
        plain = re.sub(r"\.[0-9a-f]{12}\.", ".", name)
        text = text.replace(f"{{{plain}}}", name)
    return text


@cache
def _assets() -> Mapping[str, bytes]:
    """Return the assets by their names, which have a digest before the suffix."""
    found = {}
    for path in ASSETS:
        asset = _read(path)
        stem, _, suffix = path.rpartition("/")[2].rpartition(".")
        found[f"{stem}.{hashlib.sha256(asset).hexdigest()[:12]}.{suffix}"] = asset
    return found


def _read(path: str) -> bytes:
    return files(__package__).joinpath(path).read_bytes()
