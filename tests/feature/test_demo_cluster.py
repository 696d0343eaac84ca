"""`demo --cluster`: a purchase on a cluster of its own, and a node that is killed."""

import os
import re
import signal
from pathlib import Path

from support.processes.service import assert_one_line, eventually, is_running, run_command, running_command

PLACE = re.compile(r"  (127\.0\.0\.1:\d+)   process (\d+)")


def test_a_purchase_is_made_on_a_cluster_that_ends_with_it(home: Path) -> None:
    ended = run_command(home, "demo", "--cluster", "--once")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "succeeded" in ended.stdout
    refused = run_command(home, "demo", "--cluster", "--data-dir", "data")
    assert_one_line(refused, 2, "--cluster runs on a throw-away store")


def test_a_node_that_is_killed_is_replaced_and_comes_back_and_all_end_with_the_demo(home: Path) -> None:
    with running_command(home, "demo", "--cluster", "--port", "0") as service:
        printed = service.output.read_text()
        nodes = {place: int(pid) for place, pid in PLACE.findall(printed)}
        assert len(nodes) == 6
        [url] = re.findall(r"redis\+cluster://[^']+", printed)

        def check() -> tuple[int, str]:
            ended = run_command(home, "cluster", "check", "--redis", url)
            assert ended.stderr == ""
            return ended.returncode, ended.stdout

        status, shown = check()
        assert (status, shown.count(" primary "), shown.count(" replica ")) == (0, 3, 3), shown
        place, killed = next(iter(nodes.items()))
        os.kill(killed, signal.SIGKILL)
        status, shown = check()
        assert status == 1
        assert f"finding: {place}: nothing listens there" in shown

        def is_whole() -> bool:
            status, shown = check()
            return status == 0 and re.search(f"{place} +replica", shown) is not None

        eventually(is_whole, within_s=60)
        assert service.ask("GET", "/readyz")[0] == 200
        assert service.purchase()[0] == 200
        assert run_command(home, "audit", "--redis", url).returncode == 0
        running = service.children()
        assert len(running) == 6
        assert killed not in running
        assert service.stop() == 0
        assert not any(map(is_running, running))
