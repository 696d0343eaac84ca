"""A small disk of a test's own, that can be filled and given room again. Mounting it needs root."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class SmallDisk:
    """A file system in memory. Ballast takes up its space."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self, *, but: int) -> None:
        """Leave this many bytes, or fewer if the disk is too full."""
        state = os.statvfs(self.folder)
        self._ballast.write_bytes(b"x" * max(0, state.f_bavail * state.f_frsize - but))

    def make_room(self) -> None:
        self._ballast.unlink()


@contextmanager
def small_disk(megabytes: int = 4) -> Iterator[SmallDisk]:
    """Mount a small disk; it is unmounted afterwards."""
    folder = tempfile.mkdtemp(prefix="small-disk-")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "technopay-test", folder]
    try:
        mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
        reason = mounted.stderr.strip() if mounted.returncode else ""
    except OSError as error:
        reason = str(error)
    if reason:
        Path(folder).rmdir()
        if os.environ.get("CI"):
            pytest.fail(f"CI has to be able to mount a small disk: {reason}")
        pytest.skip(f"a small disk cannot be mounted here: {reason}")
    try:
        yield SmallDisk(Path(folder))
    finally:
        # Open files do not keep it.
        subprocess.run(["umount", "--lazy", folder], check=True)
        Path(folder).rmdir()
