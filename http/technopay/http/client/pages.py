"""Lists as a whole."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from technopay.engine.fields import PAGE_MAX
from technopay.engine.models import Page

Item = TypeVar("Item")


async def all_of(list_page: Callable[..., Awaitable[Page[Item]]], **arguments: Any) -> AsyncIterator[Item]:
    """Go through a list, page by page, to its end.

    `async for payment in all_of(client.search_payments, set_aside=True): …`
    """
    cursor: str | None = ""
    while cursor is not None:
        page = await list_page(limit=PAGE_MAX, cursor=cursor, **arguments)
        for item in page.data:
            yield item
        cursor = page.next_cursor
