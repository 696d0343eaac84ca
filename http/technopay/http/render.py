"""Records as JSON. What is for operators only is left out for users."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from technopay.engine import Page, Payment

OPERATORS_ONLY = {"resolution"}


def record_json(record: BaseModel, *, operator: bool) -> bytes:
    """Render a record or a page of records."""
    exclude: Any = None
    if not operator and isinstance(record, Payment):
        exclude = OPERATORS_ONLY
    elif not operator and isinstance(record, Page) and record.data and isinstance(record.data[0], Payment):
        exclude = {"data": {"__all__": OPERATORS_ONLY}}
    # What `model_dump_json` does, without the way by a text.
    return record.__pydantic_serializer__.to_json(record, exclude=exclude)
