"""`technopay audit`: audits a store, in use or not, and prints the differences."""

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from technopay.cli.archive.verifying import audit_fully
from technopay.cli.process import fail_to_run, run_loop
from technopay.cli.settings import ConfigurationError, Settings, load_settings
from technopay.engine import Audit, Difference, StoreUninitialised
from technopay.storage import Archive, EmbeddedValkey, RedisStore
from technopay.storage.private_files import make_private

RedisUrl = Annotated[str | None, typer.Option("--redis", help="URL of a Redis or Valkey server or cluster.")]
DataDir = Annotated[str | None, typer.Option(metavar="DIRECTORY", help="Directory of the embedded store.")]


def audit(
    redis: RedisUrl = None,
    data_dir: DataDir = None,
    full: Annotated[
        bool, typer.Option("--full", help="From the first entry; verify the archive, too.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON.")] = False,
) -> int:
    """Recompute everything from the journal and compare; the store may be in use.

    Exit status: 0 clean, 1 broken, 2 could not run.
    """
    try:
        verdict = run_loop(run_audit(load_settings(redis_url=redis, data_dir=data_dir), full=full))
    except Exception as error:
        # Status 1 would say that the books are broken.
        return fail_to_run("the audit", error)
    return show_verdict(verdict, as_json=json)


def show_verdict(verdict: Audit, *, as_json: bool) -> int:
    """Print a verdict; return the exit status."""
    if as_json:
        print(verdict.model_dump_json(indent=2))
    else:
        print_audit(verdict, Console())
    return 0 if verdict.clean else 1


async def run_audit(settings: Settings, *, full: bool = False) -> Audit:
    """Audit from the checkpoints of trimmed journals on, or with `full` everything."""
    if full:
        async with opened_archive(settings) as (store, archive):
            return await audit_fully(store, archive)
    async with audited_store(settings) as store:
        return await store.audit()


@asynccontextmanager
async def opened_archive(
    settings: Settings, *, creates: bool = False
) -> AsyncIterator[tuple[RedisStore, Archive]]:
    """Open the archive of the settings and its store, which may be in use."""
    if settings.archive_location is None:
        raise ConfigurationError("there is no archive: TECHNOPAY_ARCHIVE has to name one")
    async with audited_store(settings) as store, Archive.at(settings.archive_location) as archive:
        await archive.bind(await store.read_meta(), creates=creates)
        await store.attach(archive)
        yield store, archive


@asynccontextmanager
async def audited_store(settings: Settings, *, changes: bool = False) -> AsyncIterator[RedisStore]:
    """Open a store for reading, or also for changes: beside the process that runs it, if there is one.

    What left it is read from the archive of the settings, if there is one.
    """
    url = settings.redis_url
    if url is None:
        if settings.data_dir.exists():
            make_private(settings.data_dir)  # a socket in a directory of another user is not ours
        server = EmbeddedValkey(settings.data_dir)
        if server.is_new:
            raise StoreUninitialised(f"there is no store in {settings.data_dir}")
        url = server.url if await server.is_running() else None
    if url is None:
        store = RedisStore.embedded(settings.data_dir, timezone=settings.timezone)
    elif changes:
        store = RedisStore.connect(
            url,
            timezone=settings.timezone,
            durability=settings.durability,
            wait_replicas=settings.wait_replicas if settings.redis_url else 0,
            wait_ms=settings.wait_ms,
        )
    else:
        # Its durability matters only to writers.
        store = RedisStore.connect(url, timezone=settings.timezone, durability="unchecked")
    store.tolerates_loss = not changes
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(store)
        if settings.archive_location is not None:
            await store.attach(await stack.enter_async_context(Archive.at(settings.archive_location)))
        yield store


def differences_table(differences: Iterable[Difference], title: str) -> Table:
    table = Table("invariant", "subject", "field", "expected", "found", title=title)
    for each in differences:
        cells = (each.invariant, each.subject, each.what, each.expected, each.found)
        table.add_row(*(Text(cell) for cell in cells))
    return table


def print_audit(audit: Audit, console: Console) -> None:
    if audit.differences:
        console.print(differences_table(audit.differences, "Differences"))
    checked = ", ".join(f"{count:,} {name}" for name, count in audit.checked.model_dump().items())
    console.print(f"checked: {checked}", soft_wrap=True)
    console.print("clean" if audit.clean else f"BROKEN: {len(audit.differences)} differences")
