"""`technopay archive`: the state of the archive of a store, a run, its verification, and its export."""

from pathlib import Path
from typing import Annotated

import typer

from technopay.cli.archive.verifying import verify_archive
from technopay.cli.audit import DataDir, RedisUrl, audited_store, opened_archive, show_verdict
from technopay.cli.process import fail_to_run, run_loop
from technopay.cli.settings import Settings, load_settings
from technopay.engine import ArchiveStatus, Audit
from technopay.engine.reads import ReadArchive
from technopay.engine.record import rfc3339
from technopay.storage.archive.export import export_parquet

AsJson = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]

archive = typer.Typer(help="The archive of a store: history in a database of SQL.", rich_markup_mode=None)


@archive.command()
def status(redis: RedisUrl = None, data_dir: DataDir = None, json: AsJson = False) -> int:
    """Show how far the history is archived. Exit status: 0, or 2 if it could not run."""
    try:
        found = run_loop(_read_status(load_settings(redis_url=redis, data_dir=data_dir)))
    except Exception as error:
        return fail_to_run("archive status", error)
    print(found.model_dump_json(indent=2) if json else shown_status(found))
    return 0


@archive.command()
def run(redis: RedisUrl = None, data_dir: DataDir = None) -> int:
    """Archive all that is in the store now, and trim it; it may be in use.

    Exit status: 0, or 2 if it could not run.
    """
    try:
        settings = load_settings(redis_url=redis, data_dir=data_dir)
        added, found = run_loop(_run(settings))
    except Exception as error:
        return fail_to_run("archive run", error)
    print(f"technopay: archived {added:,} entries of the journal")
    print(shown_status(found))
    return 0


@archive.command()
def verify(redis: RedisUrl = None, data_dir: DataDir = None, json: AsJson = False) -> int:
    """Recompute the archive from its first entry and compare it with itself and its store.

    Exit status: 0 whole, 1 it differs, 2 could not run.
    """
    try:
        found = run_loop(_verify(load_settings(redis_url=redis, data_dir=data_dir)))
    except Exception as error:
        # Status 1 would say that it differs.
        return fail_to_run("archive verify", error)
    return show_verdict(found, as_json=json)


@archive.command()
def export(
    parquet: Annotated[Path, typer.Option(metavar="DIRECTORY", help="For a Parquet file of each table.")],
    redis: RedisUrl = None,
    data_dir: DataDir = None,
) -> int:
    """Export the tables of the archive. Exit status: 0, or 2 if it could not run."""
    try:
        counts = run_loop(_export(load_settings(redis_url=redis, data_dir=data_dir), parquet))
    except Exception as error:
        return fail_to_run("archive export", error)
    for table, count in counts.items():
        print(f"{parquet / table}.parquet: {count:,} rows")
    return 0


def shown_status(found: ArchiveStatus) -> str:
    if found.lag_s is None:
        return "nothing was archived yet"
    to = rfc3339(found.archived_to) if found.archived_to else "nothing"
    checkpoint = rfc3339(found.checkpoint) if found.checkpoint else "none"
    return f"archived to: {to}\nlag: {found.lag_s:g} s\ncheckpoint: {checkpoint}"


async def _read_status(settings: Settings) -> ArchiveStatus:
    async with audited_store(settings) as store:
        found = (await store.run(ReadArchive())).value
        assert found is not None
        return found


async def _run(settings: Settings) -> tuple[int, ArchiveStatus]:
    async with opened_archive(settings, creates=True) as (store, opened):
        added = await (await store.archiver(opened, keep_days=settings.keep_days)).run()
    return added, await _read_status(settings)


async def _verify(settings: Settings) -> Audit:
    async with opened_archive(settings) as (store, opened):
        return await verify_archive(store, opened)


async def _export(settings: Settings, directory: Path) -> dict[str, int]:
    async with opened_archive(settings) as (_, opened):
        return dict(await export_parquet(opened, directory))
