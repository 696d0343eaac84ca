"""Which route a request is for: one walk along the parts of its path, however many routes there are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from aiohttp import web
from yarl import URL

WebHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]
ExpectHandler = Callable[[web.Request], Awaitable[web.StreamResponse | None]]

ANY = "/"
"""Stands for a part of a path that has a name, like an id; no part of a path is this."""

NOT_IN_PARTS = frozenset("{}")


class Place:
    """A place in the tree of paths: what comes after it, and what can be asked for here."""

    __slots__ = ("after", "names", "refuse_method", "routes")

    def __init__(self) -> None:
        self.after: dict[str, Place] = {}
        self.routes: dict[str, web.ResourceRoute] = {}
        self.names: tuple[str, ...] = ()
        self.refuse_method: web.ResourceRoute | None = None


NOWHERE = Place()


class RouteTable(web.AbstractResource):
    """All routes of an application, as one resource of aiohttp's router; it can be mounted as any other.

    What is not there is answered by handlers, too: an unknown path, and an unknown method of a path.
    """

    def __init__(
        self,
        refuse_path: WebHandler,
        refuse_method: Callable[[str, str], WebHandler],
        expect_handler: ExpectHandler,
    ) -> None:
        """Make an empty table; `refuse_method` makes a handler from a path and the methods that it takes."""
        super().__init__()
        self.mount = ""
        """The path below which the application is mounted."""
        self._mount_length = 0
        self._expect_handler: Any = expect_handler
        self._refuse_method = refuse_method
        self._unknown_path = self._route("*", refuse_path)
        self._root = Place()

    def add(self, method: str, path: str, handler: WebHandler) -> None:
        """Add a route whose path can have parts with names, like /users/{user_id}."""
        place, names = self._root, []
        for part in path.split("/")[1:]:
            if part.startswith("{"):
                names.append(part[1:-1])
            place = place.after.setdefault(ANY if part.startswith("{") else part, Place())
        place.routes[method] = self._route(method, handler)
        place.names = tuple(names)
        place.refuse_method = self._route("*", self._refuse_method(path, ",".join(sorted(place.routes))))

    async def resolve(self, request: web.Request) -> tuple[web.UrlMappingMatchInfo, set[str]]:
        """Find the route of a request, or the one that refuses it."""
        place, found = self._root, []
        path = request.rel_url.path_safe
        for part in path[self._mount_length + 1 :].split("/"):
            following = place.after.get(part)
            if following is None and part and NOT_IN_PARTS.isdisjoint(part):
                following = place.after.get(ANY)
                found.append(part)
            place = following or NOWHERE
            if place is NOWHERE:
                break
        if place.refuse_method is None:
            return web.UrlMappingMatchInfo({}, self._unknown_path), set()
        route = place.routes.get(request.method, place.refuse_method)
        if "%" in path:
            # Of what was escaped, the path still has these: they would have changed where its parts end.
            found = [part.replace("%2F", "/").replace("%25", "%") for part in found]
        return web.UrlMappingMatchInfo(dict(zip(place.names, found, strict=True)), route), set()

    def add_prefix(self, prefix: str) -> None:
        """Be mounted below a path."""
        self.mount = prefix + self.mount
        # In a path that comes in, what can be written without escapes is.
        self._mount_length = len(URL(self.mount, encoded=True).path_safe)

    @property
    def canonical(self) -> str:
        """Where it is."""
        return self.mount or "/"

    def raw_match(self, path: str) -> bool:  # noqa: ARG002
        """Nothing is added to a table from outside."""
        return False

    def get_info(self) -> Any:
        """Tell where it is."""
        return {"path": self.canonical}

    def url_for(self, **_: str) -> URL:
        """Tell where it is."""
        return URL(self.canonical)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[web.AbstractRoute]:
        places = [self._root]
        while places:
            place = places.pop()
            yield from place.routes.values()
            places += place.after.values()

    def _route(self, method: str, handler: WebHandler) -> web.ResourceRoute:
        return web.ResourceRoute(method, handler, self, expect_handler=self._expect_handler)
