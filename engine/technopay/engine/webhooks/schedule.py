"""When a delivery is tried again."""

import hashlib

RETRIES_S = (1, 5, 30, 120, 600, 3_600, 10_800)
"""Before each of the first retries; then LAST_RETRY_S before each further one, until the delivery is dead."""
LAST_RETRY_S = 21_600
SPREAD = 0.2


def retry_ms(webhook_id: str, event_id: str, attempts: int) -> int:
    """Return the delay after so many attempts, within a fifth of the schedule.

    It is spread by a digest of the delivery, so that endpoints are not flooded and a run can be repeated.
    """
    planned_s = RETRIES_S[attempts - 1] if attempts <= len(RETRIES_S) else LAST_RETRY_S
    digest = hashlib.sha256(f"{webhook_id} {event_id} {attempts}".encode()).digest()
    share = int.from_bytes(digest[:4]) / 0xFFFFFFFF
    return round(planned_s * 1000 * (1 - SPREAD + 2 * SPREAD * share))
