"""Whether a server on this machine still writes the append-only file that lies in its directory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

LOOKS = 3
"""A rewrite replaces the manifest and then closes the old file: what was read before it says nothing."""


def is_written_here(info: Mapping[str, str], settings: Mapping[str, str]) -> bool | None:
    """Whether the file that the manifest names is one that the server has open; None if it cannot be seen."""
    try:
        folder = Path(settings["dir"]) / settings["appenddirname"]
        manifest = folder / f"{settings['appendfilename']}.manifest"
        opened = Path("/proc") / info["process_id"] / "fd"
        for _ in range(LOOKS):
            name = _last_name(manifest)
            if name is not None and _has_open(opened, folder / name):
                return True
            if _last_name(manifest) == name:
                return False
    except (KeyError, OSError):
        pass  # it is not told, or the server ended, runs elsewhere or as another user, or we are out of files
    return None


def _last_name(manifest: Path) -> str | None:
    try:
        lines = manifest.read_text("utf-8", "surrogateescape").splitlines()
    except FileNotFoundError:
        return None
    names = [line.split()[1] for line in lines if line.startswith("file ") and " type i" in line]
    return names[-1] if names else None


def _has_open(opened: Path, file: Path) -> bool:
    try:
        written = file.stat()
    except FileNotFoundError:
        return False
    for descriptor in opened.iterdir():
        with suppress(OSError):  # it was closed meanwhile
            if os.path.samestat(written, descriptor.stat()):
                return True
    return False
