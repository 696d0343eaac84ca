"""The check of a store's data: what left for the archive is not lost."""

from collections.abc import Sequence
from typing import Any

import pytest

from technopay.engine.errors import StoreUnfit
from technopay.storage.redis_keys import Keys
from technopay.storage.schema import SCHEMA
from technopay.storage.scripts.loader import load_scripts
from technopay.storage.server.connection import Command
from technopay.storage.server.data_check import DataCheck

META = {"schema": SCHEMA, "partitions": "1", "timezone": "UTC", "incarnation": "first"}
TRIMMED = "200-0"


class TrimmedStore:
    """Replies to a check; entries up to TRIMMED are in its archive."""

    def __init__(self, *journal: str) -> None:
        self.journal = journal
        self.asked: list[Command] = []

    async def check(self, data: DataCheck) -> None:
        expected = data.begin([0])
        replies = await self.request([command for each in expected for command in each.commands])
        await data.check("a server", self.request, expected, replies)

    async def request(self, commands: Sequence[Command]) -> list[Any]:
        return [self.reply(each) for each in commands]

    def reply(self, command: Command) -> Any:
        name, *words = command
        if name == "FCALL":
            self.asked.append(command)
            return ["kept" if words[-1] == TRIMMED else "ok", "1", ""]
        if name == "HGETALL":
            return [text for pair in META.items() for text in pair]
        found = (
            self.journal[-1:] if name == "XREVRANGE" else [each for each in self.journal if each == words[1]]
        )
        return [[each, ["type", "x"]] for each in found]


@pytest.mark.parametrize("waits", [True, False])
async def test_an_entry_that_left_the_store_for_its_archive_is_no_loss(*, waits: bool) -> None:
    """It was read from the archive, or the process was stopped for days."""
    data = DataCheck(Keys(), "UTC", load_scripts()["record_loss"], waits_for_replicas=waits)
    data.adopt(META)
    data.note_entry(TRIMMED)
    store = TrimmedStore("300-0", "400-0")
    for _ in range(3):
        await store.check(data)
    assert len(store.asked) == 1
    data.note_entry("300-0")
    store.journal = ("500-0",)
    lost = "300-0" if waits else "400-0"
    with pytest.raises(StoreUnfit, match=f"entry {lost} of its journal is missing"):
        await store.check(data)


async def test_an_entry_that_was_read_while_a_trimmed_one_was_asked_for_is_expected() -> None:
    data = DataCheck(Keys(), "UTC", load_scripts()["record_loss"], waits_for_replicas=True)
    data.adopt(META)
    data.note_entry(TRIMMED)
    store = TrimmedStore("300-0", "400-0")
    expected = data.begin([0])
    replies = await store.request([command for each in expected for command in each.commands])
    data.note_entry("400-0")
    await data.check("a server", store.request, expected, replies)
    store.journal = ("500-0",)
    with pytest.raises(StoreUnfit, match="entry 400-0 of its journal is missing"):
        await store.check(data)
