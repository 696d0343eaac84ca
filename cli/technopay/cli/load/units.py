"""How figures are written for people."""

from __future__ import annotations

UNKNOWN = "not known"


def written_count(count: int) -> str:
    """Write a count."""
    return f"{count:,}"


def written_rate(per_s: float) -> str:
    """Write how many there were each second: 1,234, 56.7, 0.12."""
    return f"{per_s:,.0f}" if per_s >= 100 else f"{per_s:.1f}" if per_s >= 10 else f"{per_s:.2f}"


def written_share(share: float) -> str:
    """Write a share; one above zero is never written as 0 %."""
    return f"{100 * share:.1f} %" if share >= 0.0005 or not share else "< 0.1 %"


def written_ms(milliseconds: float) -> str:
    """Write a time with three digits that count: 0.42 ms, 3.1 ms, 57 ms, 1.23 s."""
    if milliseconds >= 1_000:
        return f"{milliseconds / 1_000:,.2f} s"
    if milliseconds >= 10:
        return f"{milliseconds:.0f} ms"
    return f"{milliseconds:.1f} ms" if milliseconds >= 1 else f"{milliseconds:.2f} ms"


def written_s(seconds: float) -> str:
    """Write how long something took: 20.0 s, 30 min, 1 h 5 min."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest_s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "min"), (rest_s if not hours else 0, "s")]
    return " ".join(f"{part} {unit}" for part, unit in parts if part)


def written_bytes(size: float | None) -> str:
    """Write a size: 512 B, 1.9 KiB, 87.3 MiB, 1.2 GiB."""
    if size is None:
        return UNKNOWN
    if abs(size) < 1024:
        return f"{size:.0f} B"
    for unit in ("KiB", "MiB"):
        size /= 1024
        if abs(size) < 1024:
            return f"{size:.1f} {unit}"
    return f"{size / 1024:.2f} GiB"


def written_change(before: float | None, after: float | None) -> str:
    """Write how a size changed: 78.2 → 91.6 MiB."""
    first, last = written_bytes(before), written_bytes(after)
    if first == last:
        return first
    # A unit that both have is written once.
    amount, _, unit = first.partition(" ")
    return f"{amount if last.endswith(f' {unit}') else first} → {last}"


def written_us(microseconds: float | None) -> str:
    """Write a time of the processor."""
    return UNKNOWN if microseconds is None else f"{microseconds:,.0f} µs"
