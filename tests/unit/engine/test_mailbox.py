from __future__ import annotations

import asyncio

import pytest
from support.stand_ins import ScriptedCommand

from technopay.engine import Overloaded
from technopay.engine.mailbox import Envelope, Mailbox


def envelope() -> Envelope:
    return Envelope(ScriptedCommand(), asyncio.get_running_loop().create_future(), deadline=0)


async def test_the_first_in_is_the_first_out() -> None:
    mailbox = Mailbox(10)
    envelopes = [envelope() for _ in range(5)]
    for each in envelopes:
        mailbox.put(each)

    assert [mailbox.take() for _ in range(5)] == envelopes


async def test_an_empty_mailbox_gives_nothing() -> None:
    mailbox = Mailbox(1)

    assert len(mailbox) == 0
    assert mailbox.take() is None


async def test_a_full_mailbox_takes_no_more() -> None:
    mailbox = Mailbox(2)
    mailbox.put(envelope())
    mailbox.put(envelope())

    with pytest.raises(Overloaded):
        mailbox.put(envelope())

    assert len(mailbox) == 2
    mailbox.take()
    mailbox.put(envelope())


async def test_what_was_accepted_before_gets_in_even_when_it_is_full() -> None:
    mailbox = Mailbox(1)
    first, completion = envelope(), envelope()
    mailbox.put(first)

    mailbox.put(completion, always=True)

    assert [mailbox.take(), mailbox.take()] == [first, completion]
