"""A store that is broken on purpose: a copy of the package, put in front of it in the path of a process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from technopay import storage

DEBIT = "local after = int(redis.call('HINCRBY', key('wallet', wallet_id), 'balance', '-' .. amount))\n"
ANOTHER_DEBIT = "redis.call('HINCRBY', key('wallet', wallet_id), 'balance', '-' .. amount)\n"

DOUBLE_DEBIT = {"scripts/payments/confirm_payment.lua": (DEBIT, ANOTHER_DEBIT + DEBIT)}
LEAKING_LIMIT = {
    "scripts/shared/limits.lua": (
        "if counter.limit and tonumber(amount) > counter.limit - counter.used then",
        "if false then",
    )
}
UNCOUNTED_DEBITS = {
    "scripts/shared/limits.lua": (
        "redis.call('HINCRBY', counter.key, counter.period, amount)",
        "redis.call('HINCRBY', counter.key, counter.period, tonumber(at) % 2 == 0 and amount or '0')",
    )
}
FORGOTTEN_PAYMENTS = {
    "scripts/payments/complete_payment.lua": (
        "settle(payment_id, payment)\n",
        "settle(payment_id, payment)\nredis.call('HSET', key('payment', payment_id), 'status', 'canceled')\n",
    )
}
LYING_AUDIT = {
    "audit/auditor.py": (
        "Audit(clean=not self._differences, checked=checked, differences=self._differences)",
        "Audit(clean=True, checked=checked, differences=[])",
    )
}
Breakages = Mapping[str, tuple[str, str]]
"""By file of the package: a text that is in it exactly once, and what is there instead."""


def settings_with_broken_store(folder: Path, *breakages: Breakages) -> dict[str, str]:
    """Make a copy of the store that is broken; answer the settings with which a process takes it for ours."""
    package = folder / "technopay" / "storage"
    shutil.copytree(
        Path(str(storage.__file__)).parent, package, ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
    )
    for breakage in breakages:
        for name, (before, after) in breakage.items():
            text = (package / name).read_text(encoding="utf-8")
            assert text.count(before) == 1, name
            (package / name).write_text(text.replace(before, after), encoding="utf-8")
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    _check_that_it_is_taken(package, path)
    return {"PYTHONPATH": path}


def _check_that_it_is_taken(package: Path, path: str) -> None:
    look = "import importlib.util; print(importlib.util.find_spec('technopay.storage').origin)"
    environment = {**os.environ, "PYTHONPATH": path}
    found = subprocess.run(
        [sys.executable, "-c", look], env=environment, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == str(package / "__init__.py")
