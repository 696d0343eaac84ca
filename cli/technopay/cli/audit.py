"""`technopay audit`: the books of a store, in use or not, and what differs, by name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rich.console import Console
from rich.table import Table

from technopay.cli.settings import Settings
from technopay.engine import Audit, StoreUninitialised
from technopay.storage import EmbeddedValkey, RedisStore
from technopay.storage.private import make_private


async def run_audit(settings: Settings) -> Audit:
    """Audit the store that the settings name."""
    async with audited_store(settings) as store:
        return await store.audit()


@asynccontextmanager
async def audited_store(settings: Settings) -> AsyncIterator[RedisStore]:
    """Open a store only to read it: beside the process that runs it, if one does."""
    url = settings.redis_url
    if url is None:
        if settings.data_dir.exists():
            make_private(settings.data_dir)  # what listens in there has to be ours
        server = EmbeddedValkey(settings.data_dir)
        if server.is_new:
            raise StoreUninitialised(f"there is no store in {settings.data_dir}")
        url = server.url if await server.answers() else None
    if url is None:
        store = RedisStore.embedded(settings.data_dir, timezone=settings.timezone)
    else:
        # How durable it is, those judge who write.
        store = RedisStore.connect(url, timezone=settings.timezone, durability="unchecked")
    async with store:
        yield store


def print_audit(audit: Audit, console: Console) -> None:
    """Print what was checked and what differs."""
    if audit.differences:
        table = Table("invariant", "of", "what", "expected", "found", title="Differences")
        for difference in audit.differences:
            table.add_row(
                difference.invariant, difference.subject, difference.what, difference.expected, difference.found
            )
        console.print(table)
    checked = ", ".join(f"{count:,} {name}" for name, count in audit.checked.model_dump().items())
    console.print(f"checked: {checked}", soft_wrap=True)
    console.print("clean" if audit.clean else f"BROKEN: {len(audit.differences)} differences")
