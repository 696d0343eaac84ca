"""Where settings come from: the environment before `.env`, and files that hold secrets."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dotenv import dotenv_values

from technopay.cli.setting_types import expand_path

PREFIX = "TECHNOPAY_"
FILE_BYTES_MAX = 65_536
EMPTY = "is empty; leave it out for the default"
LINKED_BY_KUBERNETES = re.compile(r"SERVICE_HOST|SERVICE_PORT(_.+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_.+)?")
"""Kubernetes gives these to every container when a service of the cluster is called technopay, and
TECHNOPAY_PORT=tcp://…"""


@dataclass(slots=True)
class Sources:
    """The settings as they were found, by their names in lower case, and what is wrong with them."""

    values: dict[str, str | list[str]] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)
    service_variables: dict[str, str] = field(default_factory=dict)
    known: Collection[str] = ()

    def take_service_variables(
        self, values: Mapping[str, object], services: Collection[str], mock: str
    ) -> dict[str, str]:
        """Give a factory that is set the names that begin with its own; return what is wrong."""
        wrong = dict(self.wrong)
        for name, value in self.unknown.items():
            owner = next((each for each in services if name.startswith(f"{each}_")), None)
            if owner and values.get(owner) and str(values[owner]).lower() != mock:
                self.service_variables[name.upper()] = value
            elif owner:
                wrong[name] = f"is for a factory, and {PREFIX}{owner.upper()} names none"
            elif near := difflib.get_close_matches(name, self.known, 1):
                wrong[name] = f"is not a setting; the nearest one is {PREFIX}{near[0].upper()}"
            else:
                wrong[name] = "is not a setting"
        return wrong


def read_sources(names: Collection[str], from_files: Collection[str], flags: Collection[str]) -> Sources:
    """Read what is set of `names`; those of `from_files` may also be set as `…_FILE`, unless a flag has them.

    Raises:
        UnicodeDecodeError: the file .env is no text.

    """
    found: dict[str, str] = {}
    for source in (dotenv_values(".env"), os.environ):
        for name, value in source.items():
            if name.upper().startswith(PREFIX):
                found[name[len(PREFIX) :].lower()] = value or ""
    files = {f"{name}_file": name for name in from_files}
    sources = Sources(known=[*names, *files])
    for name, value in found.items():
        if LINKED_BY_KUBERNETES.fullmatch(name.upper()) or (name == "port" and value.startswith("tcp://")):
            continue
        if name in names:
            sources.values[name] = value
        elif name not in files:
            sources.unknown[name] = value
        elif not value.strip():
            sources.wrong[name] = EMPTY
        elif files[name] in found:
            sources.wrong[name] = f"is set, and {PREFIX}{files[name].upper()} as well; leave one out"
        elif files[name] not in flags:
            try:
                content = _read_file(value)
                # A secret may have a comma in it, but no new line.
                is_list = files[name].endswith("_previous")
                sources.values[files[name]] = content.split("\n") if is_list else content
            except ValueError as error:
                sources.wrong[name] = str(error)
    return sources


def _read_file(name: str) -> str:
    """Return what a file holds, without a new line at its end.

    Raises:
        ValueError: it cannot be read; says why, and nothing of what is in it.

    """
    path = expand_path(Path(name))
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    if len(content) > FILE_BYTES_MAX:
        raise ValueError(f"{path}: is longer than {FILE_BYTES_MAX} bytes")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{path}: is not in UTF-8") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise ValueError(f"{path}: is empty")
    return text
