import asyncio
import sys

import pytest
from support.fixtures.doubles import make_command

from technopay.engine import Overloaded
from technopay.engine.actors.mailbox import Envelope, Mailbox


def envelope() -> Envelope:
    return Envelope(make_command(), asyncio.get_running_loop().create_future(), deadline=0)


def take_all(mailbox: Mailbox) -> list[Envelope]:
    return [taken for _ in range(len(mailbox)) if (taken := mailbox.take()) is not None]


async def test_the_first_in_is_the_first_out_until_it_is_empty() -> None:
    mailbox = Mailbox(10)
    assert mailbox.take() is None
    envelopes = [envelope() for _ in range(5)]
    for each in envelopes:
        mailbox.put(each)

    assert len(mailbox) == 5
    assert [mailbox.take() for _ in range(6)] == [*envelopes, None]
    assert len(mailbox) == 0


async def test_a_full_mailbox_takes_no_more() -> None:
    mailbox = Mailbox(2)
    mailbox.put(envelope())
    mailbox.put(envelope())

    with pytest.raises(Overloaded):
        mailbox.put(envelope())

    assert len(mailbox) == 2
    mailbox.take()
    mailbox.put(envelope())


async def test_what_is_put_back_comes_before_all_others_in_its_old_order() -> None:
    mailbox = Mailbox(10)
    first, second, third, fourth = (envelope() for _ in range(4))
    for each in (first, second, third):
        mailbox.put(each)
    taken = [mailbox.take(), mailbox.take()]
    mailbox.put(fourth)

    mailbox.put_back([each for each in taken if each])

    assert take_all(mailbox) == [first, second, third, fourth]


async def test_what_is_put_back_gets_in_even_when_it_is_full_and_into_an_empty_mailbox() -> None:
    mailbox = Mailbox(1)
    first, second, third = (envelope() for _ in range(3))
    mailbox.put_back([first, second])
    assert len(mailbox) == 2
    with pytest.raises(Overloaded):
        mailbox.put(third)

    assert take_all(mailbox) == [first, second]
    mailbox.put(third)
    assert take_all(mailbox) == [third]


async def test_envelopes_with_the_same_content_are_two_envelopes() -> None:
    """An outcome belongs to the envelope that was sent, not to an equal one."""
    one = envelope()
    other = Envelope(one.command, one.reply, one.deadline)

    assert one != other
    assert one == one
    assert one.resolve_by is None


async def test_a_mailbox_in_which_nothing_waits_costs_next_to_nothing() -> None:
    """Most commands are sent at once, and there may be very many actors."""
    mailbox = Mailbox(1_000)

    held = [getattr(mailbox, name) for name in Mailbox.__slots__]

    assert not hasattr(mailbox, "__dict__")
    assert sum(sys.getsizeof(each) for each in [mailbox, *held]) < 150
