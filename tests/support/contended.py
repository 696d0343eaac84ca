"""A store with one wallet that another process wants, too, behind a wire that loses replies: a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from support.stand_ins import Result

from technopay.engine import Fault, InternalError, OutcomeUnknown, StoreUnavailable
from technopay.engine.commands import Command, Deposit
from technopay.engine.ports import Outcome
from technopay.engine.values import Lease


@dataclass(slots=True, eq=False)
class UnderWay:
    """A command that was sent; with its reply, once the store has dealt with it."""

    name: str
    lease: Lease
    on_result: Callable[[Result], None]
    reply: Result | None = None


class ContendedStore:
    """Deals with commands one by one, in the order in which they were sent, when a test says so.

    As in the scripts: what took effect before is answered again, which tells nothing of the lease. Then the
    lease decides; its token is raised when it goes to another owner, and when another one finds it run out.
    """

    def __init__(self) -> None:
        self.effects: list[str] = []
        """The commands that took effect, in their order."""
        self.sent: set[str] = set()
        self.lost: set[str] = set()
        self.crashed: set[str] = set()
        self.under_way: list[UnderWay] = []
        self.most_under_way = 0
        self.repeats: set[str] = set()
        """Commands that took effect long ago, under the same operation."""
        self._token = 0
        self._owner = ""
        self._is_live = False

    def send(self, command: Command[Any], lease: Lease, on_result: Callable[[Result], None]) -> None:
        """Take a command of the actor, and see that it keeps the rules of sending."""
        assert isinstance(command, Deposit)
        assert lease.owner == "owner"
        assert not self.under_way or lease.token, "a newcomer goes out alone"
        assert all(each.lease.token == lease.token for each in self.under_way), "nothing follows a newcomer"
        self.under_way.append(UnderWay(command.operation.operation_id, lease, on_result))
        self.sent.add(command.operation.operation_id)
        self.most_under_way = max(self.most_under_way, len(self.under_way))

    def work(self, count: int) -> None:
        """Deal with some commands."""
        for each in self._waiting[:count]:
            each.reply = self._carry_out(each)

    def refuse(self, reply: Result) -> None:
        """Deal with the next command by refusing it; what is under way behind it is then refused, too."""
        for each in self._waiting[:1]:
            each.reply = reply
            if isinstance(reply, Outcome):
                self._token += 1

    def crash(self, *, half_way: bool) -> None:
        """Deal with the next command in a way that nobody can read, with or without an effect."""
        for each in self._waiting[:1]:
            if half_way:
                self._carry_out(each)
            self.crashed.add(each.name)
            each.reply = InternalError()

    def answer(self, which: int) -> None:
        """Let the actor hear one of the replies that are there; they can overtake each other."""
        if replied := [each for each in self.under_way if each.reply]:
            self._resolve(replied[which % len(replied)])

    def cut(self, count: int) -> None:
        """Deal with some commands, then lose the connection: every reply and every other command.

        Faults are not lost. What was refused by one may well go through when it is asked for again; an actor
        that heard nothing of it cannot know that what it sent behind that was first. Replies come in the order
        of their commands, so none is lost that comes before a fault.
        """
        self.work(count)
        faults = [place for place, each in enumerate(self.under_way, 1) if isinstance(each.reply, Fault)]
        first_lost = max(faults, default=0)
        for place, each in enumerate(list(self.under_way)):
            if place >= first_lost:
                self.lost.add(each.name)
                each.reply = OutcomeUnknown()
            self._resolve(each)

    def break_off(self, count: int) -> None:
        """Deal with some commands; refuse the others, as when the store goes down between two of them."""
        self.work(count)
        for each in self._waiting:
            each.reply = StoreUnavailable()

    def let_other_come(self, *, keep: bool) -> None:
        """Let another process carry a command out, and keep the lease or not."""
        if not self._is_held_from("other"):
            self._close(Lease("other", "", keep))

    def let_lease_end(self) -> None:
        """Let the lease of whoever has it run out."""
        self._is_live = False

    def _is_held_from(self, owner: str) -> bool:
        return self._is_live and self._owner != owner

    def _close(self, lease: Lease) -> str:
        """Keep the lease or give it up; answer the token."""
        is_own = self._owner == lease.owner
        if not is_own and (lease.keep or self._owner):
            self._token += 1
            self._owner = lease.owner if lease.keep else ""
        if lease.keep or is_own:
            self._is_live = lease.keep
        return str(self._token)

    @property
    def _waiting(self) -> list[UnderWay]:
        return [each for each in self.under_way if each.reply is None]

    def _resolve(self, replied: UnderWay) -> None:
        assert replied.reply is not None
        self.under_way.remove(replied)
        replied.on_result(replied.reply)

    def _carry_out(self, each: UnderWay) -> Result:
        lease = each.lease
        if each.name in self.effects or each.name in self.repeats:
            return Outcome("ok", each.name, replayed=True)
        if self._is_held_from(lease.owner):
            return Outcome("busy")
        if lease.token and lease.token != str(self._token):
            return Outcome("fenced")
        self.effects.append(each.name)
        return Outcome("ok", each.name, token=self._close(lease))
