"""One of several workers: it serves on inherited sockets, with a configuration from its standard input."""

import asyncio
import json
import logging
import os
import pickle
import signal
import socket
import sys
from collections.abc import Sequence
from functools import partial
from typing import BinaryIO

from technopay.cli.logs import set_up_logging
from technopay.cli.process import catch_signals, run_loop
from technopay.cli.service import Serve, running_service
from technopay.cli.workers.peers import Peers
from technopay.cli.workers.supervisor import WorkerConfig
from technopay.http.server.serving import serving_on
from technopay.storage.server.embedded import make_parent_death_handler

logger = logging.getLogger(__name__)

STDIN, STDOUT, STDERR = 0, 1, 2


def main() -> int:
    """Serve until a signal comes, or the parent is gone."""
    if die_with_parent := make_parent_death_handler(signal.SIGKILL):
        die_with_parent()
    reports = os.fdopen(os.dup(STDOUT), "wb", buffering=0)
    # Only reports may go there: a print elsewhere goes to standard error.
    os.dup2(STDERR, STDOUT)
    try:
        config: WorkerConfig = pickle.load(sys.stdin.buffer)  # noqa: S301 - written by our parent
    except EOFError:
        return 1  # the parent is gone
    return run_loop(_work(config, reports))


async def _work(config: WorkerConfig, reports: BinaryIO) -> int:
    # For kernels without a signal at the parent's death: standard input only ever ends.
    asyncio.get_running_loop().add_reader(STDIN, os._exit, 1)
    settings = config.settings
    observer = set_up_logging(settings.log_level, settings.log_format, worker=config.number)
    peers = Peers(config.folder, str(config.number), config.count)
    stopped = catch_signals()
    is_ready = False
    try:
        async with (
            running_service(
                settings,
                _serving_on(config.sockets),
                serve_metrics=_serving_on(config.metrics_sockets),
                demo=config.demo,
                observer=observer,
                peers=peers,
            ) as service,
            peers.exporting(service.export_metrics),
        ):
            is_ready = True
            _report(reports, None)
            await stopped.wait()
    except Exception as error:
        if is_ready:
            logger.exception("the worker crashed")
        else:
            _report(reports, str(error) or type(error).__name__)
        return 1
    return 0


def _serving_on(descriptors: Sequence[int]) -> Serve:
    return partial(serving_on, sockets=[socket.socket(fileno=each) for each in descriptors])


def _report(reports: BinaryIO, failure: str | None) -> None:
    """Send the parent None when this worker serves, or the reason why it does not."""
    with reports:
        reports.write(json.dumps(failure).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main())
