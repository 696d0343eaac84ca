"""The relay on a store of several partitions."""

from typing import Any

from support.fixtures.doubles import ManualClock
from support.fixtures.relay_setup import SETTINGS

from technopay.engine.claims import Claims
from technopay.engine.commands import ClaimRelay, Command
from technopay.engine.notifications.relay import Relay
from technopay.engine.ports import Outcome
from technopay.engine.verifiers.code_keys import CodeKeys


class SpreadStore:
    """The part of a store of three partitions that the relay needs; it keeps what was claimed."""

    partitions = (0, 1, 2)

    def __init__(self) -> None:
        self.claimed: list[int] = []

    async def run(self, command: Command[Any]) -> Outcome[Any]:
        assert isinstance(command, ClaimRelay)
        self.claimed.append(command.partition)
        return Outcome("nothing")


async def test_of_several_partitions_those_with_news_are_relayed_at_once_and_all_at_an_interval() -> None:
    store, clock = SpreadStore(), ManualClock()
    kept: Any = store
    relay = Relay(kept, {}, CodeKeys(SETTINGS, None), clock, SETTINGS, "owner", Claims(kept, clock))
    await relay.step()
    assert sorted(store.claimed) == [0, 1, 2]

    store.claimed.clear()
    relay.note_news(1)
    await relay.step()
    assert store.claimed == [1]

    store.claimed.clear()
    relay.note_news(1)
    clock.pass_time(SETTINGS.agenda_interval_s)
    await relay.step()
    assert sorted(store.claimed) == [0, 1, 2]
