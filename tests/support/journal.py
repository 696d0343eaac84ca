"""Reads entries of the journal as tests talk of them."""

from __future__ import annotations

from collections.abc import Mapping


def named(entry: Mapping[str, str]) -> dict[str, str]:
    """Give the first pair of an entry, its type and what it is about, names like all the others.

    {"wallet.deposited": "wal_1", …} is {"type": "wallet.deposited", "wallet": "wal_1", …}.
    """
    (entry_type, subject), *said = entry.items()
    about = entry_type.partition(".")[0]
    return {"type": entry_type, "currency" if about == "limit" else about: subject, **dict(said)}
