"""The environment of a process: few open files, standard streams that are closed or full, a hang-up."""

import os
import resource
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.processes.service import (
    DEADLINE_S,
    Service,
    assert_one_line,
    environment,
    eventually,
    run_command,
    running_command,
)

SERVE = ("serve", "--demo", "--port", "0", "--data-dir", "data")


def start(
    home: Path, *arguments: str, begin: Callable[[], None] | None, **streams: Any
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "technopay.cli", *arguments],
        cwd=home, env=environment(home), stdin=subprocess.DEVNULL, preexec_fn=begin, **streams,
    )  # fmt: skip


def test_a_demo_works_with_128_open_files_and_says_once_what_that_means(home: Path) -> None:
    process = start(
        home, "demo", "--once",
        begin=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128)),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    out, err = process.communicate(timeout=DEADLINE_S)

    assert process.returncode == 0, err
    assert b"succeeded" in out
    assert err.count(b"\n") == err.count(b"128 open files, so there can be 64 connections") == 1


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_hang_up_drains_and_nohup_keeps_its_meaning(home: Path, workers: str) -> None:
    with running_command(home, *SERVE, "--workers", workers) as service:
        assert service.stop(signal.SIGHUP) == 0
        assert service.output.read_text().endswith("technopay: draining\n")

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with running_command(home, *SERVE, "--workers", workers) as service:
            service.process.send_signal(signal.SIGHUP)
            assert service.purchase()[0] == 200
            assert service.stop() == 0
    finally:
        signal.signal(signal.SIGHUP, before)


@contextmanager
def serving(
    home: Path, begin: Callable[[], None] | None = None, *arguments: str, **streams: Any
) -> Iterator[Service]:
    """Run a server that cannot print its address; it has to end well."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = start(home, *SERVE, "--port", str(port), *arguments, begin=begin, **streams)
    service = Service(process, home)
    service.url = f"http://127.0.0.1:{port}"
    try:
        eventually(lambda: service.ask("GET", "/readyz")[0] == 200)
        yield service
        assert service.stop() == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("closed", [(2,), (0, 1, 2)])
def test_streams_that_are_closed_do_no_harm(home: Path, closed: tuple[int, ...]) -> None:
    def close() -> None:
        for descriptor in closed:
            os.close(descriptor)

    with serving(home, close) as service:
        # None of its files has the number of a closed stream.
        open_as = [Path(f"/proc/{service.process.pid}/fd/{each}") for each in closed]
        assert {str(path.readlink()) for path in open_as} == {"/dev/null"}
        assert service.purchase()[0] == 200


def test_a_full_disk_does_no_harm(home: Path) -> None:
    with Path("/dev/full").open("wb") as full, serving(home, stdout=full, stderr=full) as service:
        assert service.purchase()[0] == 200
        eventually(lambda: b"technopay_log_lines_dropped_total 0" not in metrics(service))
        assert b"technopay_log_lines_dropped_total" in metrics(service)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_log_that_nobody_reads_stops_nobody(home: Path, workers: str) -> None:
    reading, writing = os.pipe()
    with serving(home, None, "--workers", workers, stdout=subprocess.DEVNULL, stderr=writing) as service:
        os.close(writing)
        # 340 of them filled the pipe.
        for _ in range(800):
            assert service.ask("GET", "/nowhere")[0] == 404
        assert service.purchase()[0] == 200
    with os.fdopen(reading, "rb") as log:
        assert len(log.read()) > 32_768


def metrics(service: Service) -> bytes:
    with urllib.request.urlopen(f"{service.url}/metrics", timeout=DEADLINE_S) as answer:
        return bytes(answer.read())


@pytest.mark.parametrize(
    "arguments", [("serve", "--demo", "--workers", "2", "--port", "0"), ("demo", "--once")]
)
def test_a_temporary_directory_whose_path_is_too_long_for_a_socket_is_said(
    home: Path, arguments: tuple[str, ...]
) -> None:
    (home / ("x" * 120)).mkdir()
    ended = run_command(home, *arguments, settings={"TMPDIR": str(home / ("x" * 120))})

    assert_one_line(ended, 1, "too long for a socket; set TMPDIR")
    assert list((home / ("x" * 120)).iterdir()) == []
