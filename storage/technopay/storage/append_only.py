"""Whether a server on this machine still writes the append-only file that lies in its directory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

LOOKS = 2
"""A rewrite replaces the file, and the manifest a moment later: one look can come between."""


def is_written_here(info: Mapping[str, str], settings: Mapping[str, str]) -> bool:
    """Whether the file that the manifest names is one that the server has open. A deleted one is not named."""
    try:
        folder = Path(settings["dir"]) / settings["appenddirname"]
        manifest = folder / f"{settings['appendfilename']}.manifest"
        opened = Path("/proc") / info["process_id"] / "fd"
    except KeyError:
        return False
    return any(_has_open(opened, manifest) for _ in range(LOOKS))


def _has_open(opened: Path, manifest: Path) -> bool:
    try:
        lines = [line.split() for line in manifest.read_text().splitlines()]
        [*_, name] = [words[1] for words in lines if words[-1] == "i"]
        written = (manifest.parent / name).stat()
        descriptors = list(opened.iterdir())
    except (OSError, ValueError, IndexError):
        return False
    for descriptor in descriptors:
        try:
            if os.path.samestat(written, descriptor.stat()):
                return True
        except OSError:
            continue  # it was closed meanwhile
    return False
