"""Purchases over a connection on which commands and replies are lost, cut, late or sent twice."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize
from property.purchases import Purchases
from support.proxies.faulty_proxy import Copy, Fault, Proxy

from technopay.engine.commands import Command
from technopay.engine.ports import Outcome

FAULTS = (Fault.CUT_BEFORE, Fault.DROP_REPLY, Fault.HALF_REPLY, Copy.TWICE, Copy.LATE)


class FaultyPurchases(Purchases):
    """One fault at a time strikes a command."""

    proxy: Proxy
    faults = 0

    async def connect(self) -> str:
        self.proxy = Proxy(self.url.removeprefix("unix://"))
        await self.proxy.start()
        return self.proxy.url

    async def disconnect(self) -> None:
        await self.proxy.stop()

    @initialize(faults=st.integers(0, 8**20 - 1))
    def choose_faults(self, faults: int) -> None:
        """Choose the faults, if any, that strike the next commands which are compared with the model."""
        self.faults = faults

    def check(self, command: Command[Any], *rest: Any, **options: Any) -> Outcome[Any]:
        self.faults, number = divmod(self.faults, 8)
        if not 0 < number <= len(FAULTS):
            return super().check(command, *rest, **options)
        fault = FAULTS[number - 1]
        self.proxy.strike(fault)
        outcome = super().check(command, *rest, **options)
        assert self.proxy.has_struck
        self.answers[f"strike {fault}"] += 1
        self.run(self.proxy.deliver_late())
        return outcome
