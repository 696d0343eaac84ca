"""The order of lists over all partitions."""

from technopay.storage.merged_lists import IndexOrder, JournalOrder


def test_places_of_one_millisecond_are_in_the_order_of_partitions() -> None:
    order = JournalOrder()
    place = order.read_cursor("7-1.02")
    assert order.write_cursor(place) == "7-1.02"
    # What is shown behind (7-1, partition 2): 7-1 of the partitions before it, older entries of all.
    assert [order.cursor_in(place, partition) for partition in range(4)] == ["7-2", "7-2", "7-1", "7-1"]
    index = IndexOrder()
    at = index.read_cursor("pay_02abc")
    assert index.write_cursor(at) == "pay_02abc"
    assert [index.cursor_in(at, partition) for partition in (1, 2, 3)] == [
        "pay_01abc\x00", "pay_02abc", "pay_03abc",
    ]  # fmt: skip
