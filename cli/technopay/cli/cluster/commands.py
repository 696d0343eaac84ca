"""`technopay cluster`: checks the cluster of a store, and moves its partitions."""

import re
from typing import Annotated

import typer
from rich.console import Console

from technopay.cli.audit import RedisUrl
from technopay.cli.cluster.checking import check_cluster, print_report
from technopay.cli.cluster.moving import MoveError, move_partition
from technopay.cli.process import fail, fail_to_run, run_loop, say
from technopay.cli.settings import Settings, UsageError, load_settings
from technopay.storage.server.address import HostPort, parse_address

cluster = typer.Typer(help="Check the cluster of a store, and move its partitions.", rich_markup_mode=None)


def server_settings(redis: str | None) -> tuple[str, Settings]:
    """Return the URL of a server's store and the settings; the embedded store is not one."""
    settings = load_settings(redis_url=redis)
    if settings.redis_url is None:
        raise UsageError("--redis is missing: give the URL of a Redis or Valkey server")
    return settings.redis_url, settings


@cluster.command()
def check(redis: RedisUrl = None) -> int:
    """Show the nodes, what is wrong with them or their settings, and what a lost primary would lose now.

    Exit status: 0 nothing is wrong, 1 a finding, 2 could not run.
    """
    try:
        url, settings = _cluster(redis)
        report = run_loop(check_cluster(settings, url))
    except Exception as error:
        return fail_to_run("cluster check", error)
    print_report(report, Console())
    return 1 if report.findings else 0


@cluster.command()
def move(
    partition: Annotated[str, typer.Option(metavar="PP", help="Partition, in two hexadecimal digits.")],
    to: Annotated[str, typer.Option(metavar="HOST:PORT", help="The primary that gets it.")],
    redis: RedisUrl = None,
) -> int:
    """Move a partition to another primary, while the store is in use; one at a time.

    Exit status: 0 it is there, 1 it was not moved or replicas lack it, 2 could not run.
    """
    try:
        url, settings = _cluster(redis)
        number, target = _partition(partition), _target(to)
        was_moved = run_loop(move_partition(url, number, target, settings.wait_replicas, say))
    except MoveError as error:
        return fail(str(error), 1)
    except Exception as error:
        return fail_to_run("cluster move", error)
    print(f"technopay: partition {number:02x} is {'' if was_moved else 'already '}at {to}")
    return 0


def _cluster(redis: str | None) -> tuple[str, Settings]:
    url, settings = server_settings(redis)
    if not parse_address(url).nodes:
        raise UsageError("--redis has to be the URL of a cluster, like redis+cluster://host:6379")
    return url, settings


def _partition(text: str) -> int:
    if not re.fullmatch("[0-9A-Fa-f]{2}", text):
        raise UsageError("--partition has to be two hexadecimal digits, like 0a")
    return int(text, 16)


def _target(text: str) -> HostPort:
    host, _, port = text.rpartition(":")
    if not host or not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) < 65_536:
        raise UsageError("--to has to be HOST:PORT of a primary")
    return host.strip("[]"), int(port)
