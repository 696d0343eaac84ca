"""Breakages of the events in a listener's stream."""

from planted.breakage import Breakage, engine, lua

FEED = "tests/unit/engine/events/test_feed.py"
PAGES = "tests/unit/engine/events/test_pages.py"
ALL_FEED = "tests/unit/engine/events/test_feed_of_all.py"
ALL_EVENTS = "tests/feature/test_library_all_events.py"
STREAM = "tests/feature/test_http_events.py"
PAYMENTS = "tests/unit/storage/test_payments_commands.py"

EVENTS = (
    Breakage(
        "events-of-others",
        "Nobody is told of what belongs to somebody else.",
        (
            engine(
                "events/feed", "full.update(one for one in listeners if", "full.update(one for one in served if"
            ),
        ),
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
        (engine("events/feed", "for place in served - full:", "for place in served:"),),
        (f"{FEED}::test_what_has_no_room_waits_in_the_journal",),
    ),
    Breakage(
        "one-position-for-all-partitions",
        "Each partition has a journal and positions of its own.",
        (
            engine(
                "events/feed",
                "live = self._places[partition] - self._late",
                "live = set().union(*self._places.values()) - self._late",
            ),
        ),
        ("tests/feature/test_library_events.py::test_each_listener_reads_the_journal_of_its_own_partition",),
    ),
    Breakage(
        "cursor-forgets-one-partition",
        "A cursor has a position in each partition.",
        (engine("events/pages", "str(Cursor(positions, ", "str(Cursor([*positions[:-1], ends[-1]], "),),
        (
            f"{PAGES}::test_every_event_comes_once_and_in_the_order_of_its_partition_while_others_are_written",
            f"{ALL_EVENTS}::test_pages_and_a_stream_have_every_event_while_users_of_all_partitions_pay[fake]",
        ),
    ),
    Breakage(
        "cursor-ahead-of-the-listener",
        "The cursor of a stream is behind the events that were taken, not behind those that wait.",
        (
            engine(
                "events/subscription",
                "write([place.packed for place in self.places], ",
                "write([pack(place.position or Position(0, 0)) for place in self.places], ",
            ),
        ),
        (
            f"{ALL_FEED}::test_a_listener_that_resumes_from_any_cursor_gets_every_event_once_and_in_order",
            f"{ALL_FEED}::test_the_cursor_passes_what_the_filter_leaves_out",
        ),
    ),
    Breakage(
        "page-position-from-time",
        "A page goes on behind an entry of a journal, never behind a time: a clock can go back.",
        (
            engine(
                "events/pages",
                "if entry.type in types]",
                "if entry.type in types and entry.at_ms >= after.at_ms]",
            ),
        ),
        (f"{ALL_EVENTS}::test_a_clock_that_goes_back_and_forth_hides_no_event",),
    ),
    Breakage(
        "stream-position-from-time",
        "A stream goes on behind an entry of a journal, never behind a time: a clock can go back.",
        (engine("events/feed", "position = Position.of(entry.id)", "position = Position(entry.at_ms, 0)"),),
        (f"{ALL_EVENTS}::test_a_clock_that_goes_back_and_forth_hides_no_event",),
    ),
    Breakage(
        "busy-partition-first",
        "No partition waits for a busy one.",
        (engine("events/pages", "behind[0] if behind else after.first", "after.first"),),
        (f"{PAGES}::test_a_busy_partition_keeps_none_of_the_others_waiting",),
    ),
    Breakage(
        "idle-streams-poll-hot",
        "An idle stream of all users reads many journals at a bounded rate.",
        (
            engine(
                "events/feed",
                "max(interval_s, len(self._store.partitions) / IDLE_POLLS_PER_S_MAX)",
                "interval_s",
            ),
        ),
        (f"{ALL_FEED}::test_an_idle_store_of_many_partitions_is_read_at_a_bounded_rate",),
    ),
    Breakage(
        "gap-in-versions",
        "Every change of a payment has the version after the one before.",
        (lua("shared/end_unconfirmed", "'status', status, 'version', version", "'status', status"),),
        (f"{PAYMENTS}::test_a_waiting_payment_is_canceled_even_by_a_blocked_user[fake]",),
    ),
)
