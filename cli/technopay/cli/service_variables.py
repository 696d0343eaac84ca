"""The settings of services: a factory, `mock`, or one of ours by name, `smtp` and `http`, and their variables.

The variables of a factory are its own. Those of `smtp` and `http` are checked.
"""

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from technopay.engine.notifications.smtp_settings import sender_error, smtp_url_error
from technopay.http.services.endpoint import service_secret_error, service_url_error

PREFIX = "TECHNOPAY_"
SERVICES = ("settlement", "email", "sms", "verifier")
MOCK = "mock"
"""In the place of a factory: the mock service, on purpose."""
FACTORY = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


@dataclass(frozen=True, slots=True)
class RealService:
    """A service of ours: the name that its variables begin with, and the rule of each one; all are required."""

    prefix: str
    rules: Mapping[str, Callable[[str], str | None]]
    secret: str
    """The variable that holds a secret."""


SIGNED = {"url": service_url_error, "secret": service_secret_error}
REAL: Mapping[tuple[str, str], RealService] = {
    ("settlement", "http"): RealService("settlement", SIGNED, "secret"),
    ("email", "smtp"): RealService("smtp", {"url": smtp_url_error, "from": sender_error}, "url"),
    ("sms", "http"): RealService("sms", SIGNED, "secret"),
}
"""By service and name."""
OWNERS = {each: each for each in SERVICES} | {real.prefix: service for (service, _), real in REAL.items()}
"""The services, by what their variables begin with."""


def parse_service(service: str, text: str) -> str:
    """Return a factory or a name, else raise ValueError with the rule."""
    names = [name for owner, name in REAL if owner == service] + [MOCK]
    if text.lower() in names:
        return text.lower()
    if not FACTORY.fullmatch(text):
        raise ValueError(f"has to be package.module:factory, {' or '.join(names)}")
    return text


def variable_prefix(service: str, factory: str) -> str:
    """Return what the variables of a service begin with, in upper case."""
    real = REAL.get((service, factory))
    return f"{real.prefix if real else service}_".upper()


def named_services(values: Mapping[str, Any]) -> dict[str, str]:
    """Return what each service is set to, in lower case; a mock is the default."""
    return {service: str(values.get(service) or MOCK).lower() for service in SERVICES}


def secret_variables(values: Mapping[str, Any]) -> list[str]:
    """Return the names of the variables of ours that hold a secret: each also as `…_FILE`."""
    found = (REAL.get(each) for each in named_services(values).items())
    return [f"{real.prefix}_{real.secret}" for real in found if real]


def take_service_variables(values: dict[str, Any], wrong: dict[str, str]) -> dict[str, str]:
    """Take the variables of services out of the values, by their names in upper case."""
    variables, named = {}, named_services(values)
    if "service_variables" in values:
        del values["service_variables"]
        wrong["service_variables"] = "is not a setting"
    for setting in list(values):
        prefix, _, variable = setting.partition("_")
        if not variable or prefix not in OWNERS:
            continue
        value, service = values.pop(setting), OWNERS[prefix]
        if problem := _problem(prefix, variable, value, service, named[service]):
            wrong[setting] = problem
        else:
            variables[setting.upper()] = value
    for service, name in named.items():
        if real := REAL.get((service, name)):
            for setting in (f"{real.prefix}_{variable}" for variable in real.rules):
                if setting.upper() not in variables and not {setting, f"{setting}_file"} & wrong.keys():
                    wrong[setting] = f"is not set; {PREFIX}{service.upper()}={name} needs it"
    return variables


def _problem(prefix: str, variable: str, value: str, service: str, name: str) -> str | None:
    """Return what is wrong with a variable of a service that has this name."""
    real = REAL.get((service, name))
    if real and real.prefix == prefix:
        if variable in real.rules:
            return real.rules[variable](value)
        nearest = difflib.get_close_matches(variable, real.rules, 1)
        hint = f"; the nearest one is {PREFIX}{prefix.upper()}_{nearest[0].upper()}" if nearest else ""
        return f"is not a setting{hint}"
    if prefix != service:
        return f"is for {PREFIX}{service.upper()}={prefix}"
    if real or name == MOCK:
        return f"is for a factory, and {PREFIX}{service.upper()} names none"
    return None
