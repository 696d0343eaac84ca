"""Purchases over a connection on which commands and replies are lost, cut, late or sent twice."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule
from property.purchases import Purchases
from support.proxies.faulty_proxy import Copy, Fault, Proxy

from technopay.engine.commands import Command
from technopay.engine.ports import Outcome

FAULTS = (Fault.CUT_BEFORE, Fault.DROP_REPLY, Fault.HALF_REPLY, Copy.TWICE, Copy.LATE)


class FaultyPurchases(Purchases):
    """One fault at a time, struck at random."""

    proxy: Proxy
    fault: Fault | Copy | None = None

    async def connect(self) -> str:
        self.proxy = Proxy(self.url.removeprefix("unix://"))
        await self.proxy.start()
        return self.proxy.url

    async def disconnect(self) -> None:
        await self.proxy.stop()

    @rule(fault=st.sampled_from(FAULTS))
    def strike(self, fault: Fault | Copy) -> None:
        """Let a fault strike the next command that is compared with the model."""
        self.fault = fault

    def check(self, command: Command[Any], *rest: Any, **options: Any) -> Outcome[Any]:
        if fault := self.fault:
            self.proxy.strike(fault)
            self.fault = None
        outcome = super().check(command, *rest, **options)
        if fault:
            assert self.proxy.has_struck
            self.answers[f"strike {fault}"] += 1
            self.run(self.proxy.deliver_late())
        return outcome
