"""What keeps a load test from being run."""

from __future__ import annotations


class LoadError(Exception):
    """Raised when there is no load test to be had; one line says why."""
