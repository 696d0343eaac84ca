"""Calls by method and path, with the records that the server returns."""

import secrets
from collections.abc import Mapping
from datetime import datetime
from types import NoneType
from typing import Any
from urllib.parse import quote, urlencode

from technopay.engine import fields
from technopay.http.client.transport import RecordT, Request, Transport


class Calls:
    """Sends the calls of a client; its operations are functions of it."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def _get(self, model: type[RecordT], path: str, *, wait_s: float = 0.0, **query: Any) -> RecordT:
        """Read; parameters of the query that are None are left out."""
        return await self._transport.call(model, Request("GET", with_query(path, query), wait_s=wait_s))

    async def _post(
        self, model: type[RecordT], path: str, body: Mapping[str, Any] | None = None, *, key: str | None
    ) -> RecordT:
        """Ask for a change with the given key or a new one."""
        fields.require([("idempotency_key", fields.key_error(key))])
        request = Request("POST", path, body, key or secrets.token_urlsafe(16))
        return await self._transport.call(model, request)

    async def _put(self, model: type[RecordT], path: str, body: Mapping[str, Any]) -> RecordT:
        """Replace something; a call that can be repeated as it is."""
        return await self._transport.call(model, Request("PUT", path, body))

    async def _patch(self, model: type[RecordT], path: str, body: Mapping[str, Any]) -> RecordT:
        """Change what is given; a call that can be repeated as it is. Members that are UNSET are left out."""
        given = {name: value for name, value in body.items() if value is not fields.UNSET}
        return await self._transport.call(model, Request("PATCH", path, given))

    async def _delete(self, path: str) -> None:
        """Delete something; a call that can be repeated as it is."""
        await self._transport.call(NoneType, Request("DELETE", path))


def part(value: str) -> str:
    """Return an id as one part of a path, whatever it contains."""
    return quote(value, safe="")


def time_range(begin: datetime | None, end: datetime | None) -> dict[str, Any]:
    """Return a range of times as parameters of a query."""
    return {"from": begin and begin.isoformat(), "to": end and end.isoformat()}


def with_query(path: str, query: Mapping[str, Any]) -> str:
    """Return a path with those parameters of a query that are not None."""
    given = {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in query.items()
        if value is not None
    }
    return f"{path}?{urlencode(given)}" if given else path
