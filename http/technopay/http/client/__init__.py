"""A client for other Python programs: the engine's records and errors, over HTTP."""

from technopay.http.client.client import Client, all_of
from technopay.http.client.errors import ServerUnreachable, UnexpectedAnswer
from technopay.http.client.retries import RetryPolicy

__all__ = ["Client", "RetryPolicy", "ServerUnreachable", "UnexpectedAnswer", "all_of"]
