"""A process that tells a story until it is killed at a point, or to the end to tell which points there are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.mortal import MortalChannel, MortalClock, MortalSettlementService, Point, Points, make_mortal
from support.stories import REPLY_S_MAX, STORIES
from support.storyteller import Diary, Memory, Storyteller

from technopay.engine import Engine, MockChannel, MockSettlementService
from technopay.storage import RedisStore


async def live(job: Mapping[str, Any]) -> None:
    """Live until the point at which the process dies."""
    story, diary = STORIES[job["story"]], Diary(Path(job["diary"]))
    deadly = Point(*job["point"]) if job["point"] else None
    points = Points(diary.write_point, deadly)
    store = RedisStore.connect(
        job["url"], initialise=True, namespace=job["namespace"], reply_timeout_s=REPLY_S_MAX
    )
    make_mortal(store, points)
    channel = MortalChannel(MockChannel(store), points, story.deaf_to)
    service = MortalSettlementService(MockSettlementService(store), points)
    engine = Engine(
        store,
        story.settings_of_victim(),
        settlement_service=service,
        channels={"email": channel, "sms": channel},
        clock=MortalClock(points),
    )
    async with store, engine:
        teller = Storyteller(engine, store, Memory(None), diary.write, lambda: points.open_questions == 0)
        await story.tell(teller)
        await teller.calm()
