"""technopay over HTTP: an aiohttp application that drives the engine."""

from technopay.http.app import create_app
from technopay.http.auth import Authenticator, Caller, TokenAuthenticator
from technopay.http.bounds import Bounds
from technopay.http.mock_routes import mock_routes
from technopay.http.problems import PROBLEMS, Unauthenticated
from technopay.http.seen import OnRequest, Seen
from technopay.http.server import serving

__all__ = [
    "PROBLEMS",
    "Authenticator",
    "Bounds",
    "Caller",
    "OnRequest",
    "Seen",
    "TokenAuthenticator",
    "Unauthenticated",
    "create_app",
    "mock_routes",
    "serving",
]
