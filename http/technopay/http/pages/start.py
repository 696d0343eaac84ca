"""The page at `/`: links for people."""

from html import escape
from importlib.resources import files

from technopay.http.api.route import Call, Route
from technopay.http.pages.docs.page import HEADERS, HTML
from technopay.http.responses import Response


async def start(call: Call) -> Response:
    """Show where to go."""
    # In another application, the path of this page has no slash at its end, or one.
    below = "" if call.request.path.endswith("/") else call.mount.rpartition("/")[2] + "/"
    page = files(__package__).joinpath("start.html").read_text().replace("{below}", escape(below))
    return Response(page.encode(), headers=HEADERS, media=HTML)


START_ROUTES = tuple(
    # "" is the path of the application when it is mounted in another one.
    Route("GET", path, None, start, is_documented=False, ignores_query=True)
    for path in ("/", "")
)
