"""The health check of a process that expects an entry which was trimmed while it was paused."""

from collections.abc import Sequence
from typing import Any

import pytest
from support.fixtures.checked_server import META, FakeServer

from technopay.storage.redis_keys import Keys
from technopay.storage.scripts.loader import load_scripts
from technopay.storage.server.connection import Command
from technopay.storage.server.data_check import DataCheck
from technopay.storage.server.health import HealthCheck


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.mark.parametrize("waits_for_replicas", [False, True])
async def test_an_entry_that_was_trimmed_while_the_process_was_paused_is_no_loss(
    server: FakeServer, *, waits_for_replicas: bool
) -> None:
    data = DataCheck(Keys(), "UTC", load_scripts()["record_loss"], waits_for_replicas=waits_for_replicas)
    health = HealthCheck(data, durability="always")
    data.adopt(META)
    data.note_entry("200-0")
    await health.check(server.request)
    server.journal, server.loss = ["700-0", "800-0"], ["kept", "1", ""]
    await health.check(server.request)

    # The trimmed entry is forgotten; a later one that is missing is a loss.
    server.loss = ["ok", "1", ""]
    await health.check(server.request)
    server.meta["incarnation"] = "another"
    await server.refuse(health, "its incarnation differs")
    server.meta["incarnation"] = "first"
    await health.check(server.request)
    data.note_entry("800-0")
    await health.check(server.request)
    server.journal.pop()
    await server.refuse(health, "entry 800-0 of its journal is missing")


async def test_a_last_entry_that_was_only_seen_by_a_check_is_expected_after_trimming_unless_replicas_are(
    server: FakeServer,
) -> None:
    for waits_for_replicas in (False, True):
        server.journal, server.loss = ["700-0", "800-0"], ["kept", "1", ""]
        script = load_scripts()["record_loss"]
        data = DataCheck(Keys(), "UTC", script, waits_for_replicas=waits_for_replicas)
        health = HealthCheck(data, durability="always")
        data.adopt(META)
        data.note_entry("200-0")
        await health.check(server.request)
        server.journal, server.loss = ["700-0"], ["ok", "1", ""]
        if waits_for_replicas:
            await health.check(server.request)
        else:
            await server.refuse(health, "entry 800-0 of its journal is missing")


async def test_an_entry_that_was_read_while_a_trimmed_one_is_looked_for_is_still_expected(
    server: FakeServer,
) -> None:
    data = DataCheck(Keys(), "UTC", load_scripts()["record_loss"])
    health = HealthCheck(data, durability="always")
    data.adopt(META)
    data.note_entry("200-0")

    async def request(commands: Sequence[Command]) -> list[Any]:
        if commands[0][0] == "FCALL":
            data.note_entry("900-0")
        return await server.request(commands)

    server.journal, server.loss = ["800-0"], ["kept", "1", ""]
    await health.check(request)
    server.loss = ["ok", "1", ""]
    await server.refuse(health, "entry 900-0 of its journal is missing")


async def test_a_missing_entry_is_a_loss_as_long_as_the_store_does_not_know_that_it_was_trimmed(
    server: FakeServer,
) -> None:
    data = DataCheck(Keys(), "UTC", load_scripts()["record_loss"])
    health = HealthCheck(data, durability="always")
    data.adopt(META)
    data.note_entry("300-0")
    server.loss = RuntimeError("ERR Function not found")
    await server.refuse(health, "entry 300-0 of its journal is missing")
    server.loss = ["kept", "1", ""]
    await health.check(server.request)
