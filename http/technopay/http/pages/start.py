"""The page at `/`: links for people."""

from __future__ import annotations

from html import escape
from importlib.resources import files

from technopay.http.api.route import Call, Route
from technopay.http.responses import Response

HTML = "text/html; charset=utf-8"
POLICY = "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
INTRODUCTION = "technopay pays invoices from wallets: confirmed by a second step, exactly once or not at all."
LINKS = {
    "docs": "the API, to read and to try out",
    "openapi.json": "the API as an OpenAPI document",
    "readyz": "whether this server can work now",
    "metrics": "metrics for Prometheus",
}


async def start(call: Call) -> Response:
    """Show where to go."""
    # In another application, the path of this page has no slash at its end, or one.
    below = "" if call.request.path.endswith("/") else call.mount.rpartition("/")[2] + "/"
    headers = {"Vary": "Accept, Origin"}
    if "text/html" not in call.request.headers.get("Accept", "").lower():
        lines = [f"{name:14}{text}" for name, text in LINKS.items()]
        text = "\n".join([INTRODUCTION, "", *lines, ""])
        return Response(text.encode(), headers=headers, media="text/plain; charset=utf-8")
    rows = [
        f'<dt><a href="{escape(below + name)}">{name}</a></dt><dd>{text}</dd>' for name, text in LINKS.items()
    ]
    template = files(__package__).joinpath("start.html").read_text()
    page = template.format(introduction=INTRODUCTION, places="\n".join(rows))
    policy = {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"}
    return Response(page.encode(), headers={**headers, **policy}, media=HTML)


START_ROUTES = tuple(
    # "" is the path of the application when it is mounted in another one.
    Route("GET", path, None, start, is_documented=False, ignores_query=True)
    for path in ("/", "")
)
