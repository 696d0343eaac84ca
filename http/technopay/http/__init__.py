"""technopay over HTTP: an aiohttp application that drives the engine, and a client for other programs.

The server's names are loaded when they are asked for, so that who imports `technopay.http.client` does not load
a server.
"""

import importlib
import typing

if typing.TYPE_CHECKING:
    from technopay.http.app import create_app
    from technopay.http.auth import Authenticator, Caller, TokenAuthenticator
    from technopay.http.bounds import Bounds
    from technopay.http.keys import Algorithm, Key, read_public_keys
    from technopay.http.listening import CannotListen, listen
    from technopay.http.mocks import mock_routes
    from technopay.http.problems import PROBLEMS, Unauthenticated
    from technopay.http.seen import OnRequest, Seen
    from technopay.http.server import serving, serving_on
    from technopay.http.signing import TokenSigner

__all__ = [
    "PROBLEMS",
    "Algorithm",
    "Authenticator",
    "Bounds",
    "Caller",
    "CannotListen",
    "Key",
    "OnRequest",
    "Seen",
    "TokenAuthenticator",
    "TokenSigner",
    "Unauthenticated",
    "create_app",
    "listen",
    "mock_routes",
    "read_public_keys",
    "serving",
    "serving_on",
]

_HOMES = {
    "app": ("create_app",),
    "auth": ("Authenticator", "Caller", "TokenAuthenticator"),
    "bounds": ("Bounds",),
    "keys": ("Algorithm", "Key", "read_public_keys"),
    "listening": ("CannotListen", "listen"),
    "mocks": ("mock_routes",),
    "problems": ("PROBLEMS", "Unauthenticated"),
    "seen": ("OnRequest", "Seen"),
    "server": ("serving", "serving_on"),
    "signing": ("TokenSigner",),
}


def __getattr__(name: str) -> typing.Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"technopay.http.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
