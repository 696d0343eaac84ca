"""`technopay webhooks`: receives events as webhooks on a developer's machine."""

import re
from typing import Annotated

import typer
from yarl import URL

from technopay.cli.process import catch_signals, run_loop
from technopay.cli.settings import UsageError
from technopay.cli.webhooks.forwarding import forward_events, make_secret, secret_error
from technopay.engine import ValidationFailed

webhooks = typer.Typer(help="Receive events as webhooks, without a public address.", rich_markup_mode=None)


@webhooks.callback()
def group() -> None:
    """Receive events as webhooks, without a public address."""


@webhooks.command()
def listen(
    url: Annotated[str, typer.Option(help="Address of the technopay server.")],
    admin_token: Annotated[str, typer.Option(help="Token of an operator.")],
    forward: Annotated[
        str, typer.Option(help="Address that gets the events, like http://localhost:3000/hook.")
    ],
    types: Annotated[
        str | None, typer.Option(help="Only these event types, separated by commas.", show_default="all")
    ] = None,
    secret: Annotated[
        str | None, typer.Option(help="Secret of the signatures, whsec_….", show_default="a random one")
    ] = None,
) -> None:
    """Forward the events of all users, from now on, to an address: each as a signed POST, one after the other.

    Bodies and headers are those of webhooks (Standard Webhooks); the secret is printed at the start. An event
    is sent once, whatever the response. Ctrl-C ends it.
    """
    _require_url("--url", url)
    _require_url("--forward", forward)
    if not re.fullmatch("[!-~]+", admin_token):
        raise UsageError("--admin-token has to be a token, as printed by `technopay token --admin`")
    if secret is not None and (error := secret_error(secret)):
        raise UsageError(f"--secret {error}")
    try:
        run_loop(_listen(url, admin_token, forward, types, secret or make_secret()))
    except ValidationFailed as error:
        raise UsageError("; ".join(f"--{each.field} {each.message}" for each in error.errors)) from error


async def _listen(url: str, admin_token: str, forward: str, types: str | None, secret: str) -> None:
    await forward_events(url, admin_token, forward, types, secret, catch_signals())


def _require_url(option: str, text: str) -> None:
    try:
        is_url = URL(text).scheme in ("http", "https") and bool(URL(text).host)
    except ValueError:
        is_url = False
    if not is_url:
        raise UsageError(f"{option} has to be an address like http://localhost:3000")
