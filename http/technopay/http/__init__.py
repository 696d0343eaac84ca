"""technopay over HTTP: an aiohttp application for the engine, and a client for other programs.

The names of the server are loaded at their first use, so that `technopay.http.client` does not load a server.
"""

import importlib
import typing

if typing.TYPE_CHECKING:
    from technopay.http.access_record import RequestObserver, RequestRecord
    from technopay.http.api.demo import mock_routes
    from technopay.http.app import create_app
    from technopay.http.auth.signing_keys import Algorithm, Key, read_public_keys
    from technopay.http.auth.tokens import Authenticator, Caller, TokenAuthenticator, TokenSigner
    from technopay.http.problems import PROBLEMS, Unauthenticated
    from technopay.http.server.limits import ServerLimits
    from technopay.http.server.serving import CannotListen, listen, serving, serving_on

__all__ = [
    "PROBLEMS",
    "Algorithm",
    "Authenticator",
    "Caller",
    "CannotListen",
    "Key",
    "RequestObserver",
    "RequestRecord",
    "ServerLimits",
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

_MODULES = {
    "access_record": ("RequestObserver", "RequestRecord"),
    "api.demo": ("mock_routes",),
    "app": ("create_app",),
    "auth.signing_keys": ("Algorithm", "Key", "read_public_keys"),
    "auth.tokens": ("Authenticator", "Caller", "TokenAuthenticator", "TokenSigner"),
    "problems": ("PROBLEMS", "Unauthenticated"),
    "server.limits": ("ServerLimits",),
    "server.serving": ("CannotListen", "listen", "serving", "serving_on"),
}


def __getattr__(name: str) -> typing.Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"technopay.http.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
