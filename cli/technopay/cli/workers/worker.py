"""One of several workers: it serves on sockets that it inherits, as it is told through its standard input."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from functools import partial
from typing import BinaryIO

from technopay.cli.logs import set_up_logging
from technopay.cli.process import catch_signals, run_loop, sockets_of
from technopay.cli.service import running_service
from technopay.cli.workers.orders import Orders, Report
from technopay.cli.workers.siblings import Siblings
from technopay.http.server import serving_on
from technopay.storage.server.embedded import make_parent_death_handler

logger = logging.getLogger(__name__)

STDIN, STDOUT, STDERR = 0, 1, 2


def main() -> int:
    """Serve until a signal comes, or whoever started us is gone."""
    if die_with_parent := make_parent_death_handler(signal.SIGKILL):
        die_with_parent()
    reports = os.fdopen(os.dup(STDOUT), "wb", buffering=0)
    # Nothing but reports may go there, whoever prints something.
    os.dup2(STDERR, STDOUT)
    told = sys.stdin.buffer.readline()
    if not told.endswith(b"\n"):
        return 1  # whoever wanted to tell us something is gone
    return run_loop(_work(Orders.model_validate_json(told), reports))


async def _work(orders: Orders, reports: BinaryIO) -> int:
    # Where the kernel does not do it: nothing is ever said here but that the other end was closed.
    asyncio.get_running_loop().add_reader(STDIN, os._exit, 1)
    settings = orders.settings
    on_request = set_up_logging(settings.log_level, settings.log_format, worker=orders.number)
    siblings = Siblings(orders.folder, str(orders.number), orders.count)
    stopped = catch_signals()
    is_ready = False
    try:
        async with (
            running_service(
                settings,
                partial(serving_on, sockets=sockets_of(orders.sockets)),
                demo=orders.demo,
                on_request=on_request,
                team=siblings,
            ) as service,
            siblings.telling(service.tell_metrics),
        ):
            is_ready = True
            _report(reports, Report())
            await stopped.wait()
    except Exception as error:
        if is_ready:
            logger.exception("the worker crashed")
            return 1
        _report(reports, Report(failure=str(error) or type(error).__name__))
        return 1
    return 0


def _report(reports: BinaryIO, report: Report) -> None:
    with reports:
        reports.write(report.model_dump_json().encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main())
