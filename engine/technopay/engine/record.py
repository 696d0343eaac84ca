"""The base of all records that the engine returns: frozen, times in UTC; HTTP sends their JSON."""

from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from typing import Annotated, Any, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PrivateAttr, WithJsonSchema

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TIMES_KEPT = 4_096
"""A payment is read several times within a second, and all limits of a day have the same end."""


@lru_cache(maxsize=TIMES_KEPT)
def from_ms(at_ms: int | str) -> datetime:
    seconds, milliseconds = divmod(int(at_ms), 1000)
    return EPOCH + timedelta(0, seconds, milliseconds * 1000)


def to_ms(at: datetime) -> int:
    return int(at.replace(microsecond=0).timestamp()) * 1000 + at.microsecond // 1000


def to_ms_up(at: datetime) -> int:
    """Return the first whole millisecond that is not before a time."""
    return to_ms(at) + (at.microsecond % 1000 > 0)


def to_bound_ms(at: datetime | None) -> int | None:
    """Return the first whole millisecond that is not before a bound of a range; None for no bound."""
    return None if at is None else max(1, to_ms_up(at))


@lru_cache(maxsize=TIMES_KEPT)
def rfc3339(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Timestamp = Annotated[
    datetime,
    PlainSerializer(rfc3339, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]


class Record(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        json_schema_serialization_defaults_required=True,
    )

    _replayed: bool = PrivateAttr(default=False)

    @classmethod
    def trusted(cls, **values: Any) -> Self:
        """Build a record from all of its valid values: a faster `model_construct`."""
        record = cls.__new__(cls)
        set_attribute = object.__setattr__
        set_attribute(record, "__dict__", values)
        set_attribute(record, "__pydantic_fields_set__", _field_names(cls))
        set_attribute(record, "__pydantic_extra__", None)
        set_attribute(record, "__pydantic_private__", {"_replayed": False})
        return record

    @property
    def replayed(self) -> bool:
        # pydantic's own access takes five times as long, and every response reads this.
        return bool(self.__pydantic_private__ and self.__pydantic_private__["_replayed"])

    def as_replay(self) -> Self:
        """Return a copy that is marked as a replay: the record itself may be shared."""
        again = self.model_copy()
        again._replayed = True  # noqa: SLF001
        return again


@cache
def _field_names(record_type: type[Record]) -> set[str]:
    return set(record_type.model_fields)


Item = TypeVar("Item")


class Page(Record, Generic[Item], use_attribute_docstrings=False):
    """A part of a list, newest first."""

    # pydantic reads the source again for each type of items, so these are no docstrings.
    data: list[Item]
    has_more: bool = Field(description="Whether there is a next page.")
    next_cursor: str | None = Field(description="The cursor of the next page; null on the last one.")
