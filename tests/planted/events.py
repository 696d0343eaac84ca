"""Breakages of the events in a listener's stream."""

from planted.breakage import Breakage, engine, lua

FEED = "tests/unit/engine/events/test_feed.py"
STREAM = "tests/feature/test_http_events.py"
PAYMENTS = "tests/unit/storage/test_payments_commands.py"

EVENTS = (
    Breakage(
        "events-of-others",
        "Nobody is told of what belongs to somebody else.",
        (engine("events/feed", "for one in by_user[record.user_id] if", "for one in served if"),),
        (
            f"{FEED}::test_a_listener_hears_what_happens_from_now_on_and_only_what_is_the_users",
            f"{STREAM}::test_a_stream_has_the_events_of_its_user_alone",
        ),
    ),
    Breakage(
        "resume-loses-one",
        "Whoever comes back is told of everything that came after the last event, also in the same instant.",
        (
            engine(
                "events/feed",
                "position = Position.of(seen[2]) if seen",
                "position = Position(Position.of(seen[2]).at_ms + 1, 0) if seen",
            ),
        ),
        (f"{FEED}::test_a_listener_goes_on_after_any_event",),
    ),
    Breakage(
        "no-room-loses-events",
        "What a listener has no room for waits in the journal.",
        (engine("events/feed", "if listener not in full and listener.position", "if listener.position"),),
        (f"{FEED}::test_what_has_no_room_waits_in_the_journal",),
    ),
    Breakage(
        "one-position-for-all-partitions",
        "Each partition has a journal and positions of its own.",
        (engine("events/feed", "            and self._store.partition_of(each.user_id) == partition\n", ""),),
        ("tests/feature/test_library_events.py::test_each_listener_reads_the_journal_of_its_own_partition",),
    ),
    Breakage(
        "gap-in-versions",
        "Every change of a payment has the version after the one before.",
        (lua("shared/end_unconfirmed", "'status', status, 'version', version", "'status', status"),),
        (f"{PAYMENTS}::test_a_waiting_payment_is_canceled_even_by_a_blocked_user[fake]",),
    ),
)
