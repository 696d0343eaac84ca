"""How long to wait before what ended is started again."""

from __future__ import annotations

from technopay.storage.pauses import Pauses


def test_pauses_get_longer_up_to_a_bound() -> None:
    pauses = Pauses(0.1, 0.5)
    assert [pauses.after(0) for _ in range(5)] == [0.1, 0.2, 0.4, 0.5, 0.5]


def test_pauses_begin_anew_with_what_has_stayed() -> None:
    pauses = Pauses(0.1, 0.5)
    assert [pauses.after(lived_s) for lived_s in (0, 0, 0.4, 0.6, 0)] == [0.1, 0.2, 0.4, 0.1, 0.2]
