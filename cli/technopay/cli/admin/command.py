"""`technopay admin NOUN VERB`: one command for each verb of the table, and its run."""

import inspect
import re
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from technopay.cli.admin.options import arguments_of, is_list, parameters_of
from technopay.cli.admin.printing import print_record, print_records, print_statement
from technopay.cli.admin.verbs import VERBS, Verb, method_of
from technopay.cli.process import fail, fail_to_run, run_loop
from technopay.cli.settings import UsageError, load_settings
from technopay.engine import OutcomeUnknown, Statement, TechnopayError
from technopay.engine.fields import PAGE_MAX
from technopay.engine.record import Record
from technopay.http.client import Client, ServerUnreachable, UnexpectedAnswer

PAGES_MAX = 1_000
"""How often a list is read for one call; each time, the server reads a bounded part of its journal."""

PASSED_ON = {"ignore_unknown_options": True}
"""The settings of the command that passes all of its words on."""

Url = Annotated[str | None, typer.Option("--url", help="Address of the server.", show_default="TECHNOPAY_URL")]
Token = Annotated[str | None, typer.Option(help="Token of an operator.", show_default="TECHNOPAY_ADMIN_TOKEN")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, a list as one line for each record.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it without a question.")]


class Refused(Exception):
    """Raised when the operator does not agree, or cannot be asked."""


def admin(words: Annotated[list[str] | None, typer.Argument(metavar="NOUN VERB …")] = None) -> int:
    """Do what operators do, on a running server: users, wallets, invoices, payments, limits and more."""
    status: int | None = make_app()(words or ["--help"], prog_name="technopay admin", standalone_mode=False)
    return status or 0


def make_app() -> typer.Typer:
    """Make the commands of the table, when they are needed."""
    app = typer.Typer(
        help="Do what operators do, on a running server.\n\n"
        "Exit status: 0 done, 1 refused by the server, 2 wrong arguments, not agreed, or no reply.",
        add_completion=False,
        rich_markup_mode=None,
    )
    nouns = {verb.noun: typer.Typer(help=f"{verb.noun.capitalize()}.", rich_markup_mode=None) for verb in VERBS}
    for verb in VERBS:
        summary = re.split(r"[.;]\s", f"{inspect.getdoc(verb.function)} ", maxsplit=1)[0] + "."
        nouns[verb.noun].command(verb.name, help=summary)(_command(verb))
    for noun, commands in nouns.items():
        app.add_typer(commands, name=noun)
    return app


def _command(verb: Verb) -> Callable[..., int]:
    def command(
        *,
        server_url: Url = None,
        admin_token: Token = None,
        json: AsJson = False,
        yes: Yes = False,
        **given: Any,
    ) -> int:
        try:
            arguments = arguments_of(verb, given)
            client = _client(server_url, admin_token)
            return run_loop(_run(verb, client, arguments, as_json=json, yes=yes))
        except (ServerUnreachable, UnexpectedAnswer) as error:
            return fail(str(error), 2)
        except OutcomeUnknown as error:
            key = f", with --idempotency-key {error.idempotency_key}" if error.idempotency_key else ""
            return fail(f"{error} Run it again{key}.", 2)
        except TechnopayError as error:
            return fail(f"{error} ({error.code}, request {error.request_id})", 1 if error.request_id else 2)
        except Refused as error:
            return fail(str(error), 2)
        except Exception as error:
            return fail_to_run(f"admin {verb.noun} {verb.name}", error)

    own = list(inspect.signature(command).parameters.values())[:-1]
    command.__signature__ = inspect.Signature([*parameters_of(verb), *own])  # type: ignore[attr-defined]
    return command


def _client(url: str | None, token: str | None) -> Client:
    """Make a client of the server that flags or settings name.

    Raises:
        UsageError: there is none, or its address is wrong.

    """
    settings = load_settings(url=url, admin_token=token)
    if settings.url is None:
        raise UsageError("--url is missing: give the address of the server, or set TECHNOPAY_URL")
    if settings.admin_token is None:
        raise UsageError("--admin-token is missing: give an operator's token, or set TECHNOPAY_ADMIN_TOKEN")
    try:
        return Client(settings.url, settings.admin_token.get_secret_value())
    except ValueError as error:
        raise UsageError(f"--url: {error}") from None


async def _run(verb: Verb, client: Client, arguments: dict[str, Any], *, as_json: bool, yes: bool) -> int:
    async with client:
        if is_list(verb):
            await _list(verb, client, arguments, as_json=as_json)
            return 0
        if verb.question and not yes:
            named = {verb.argument: arguments[verb.argument]}
            _require_yes(verb.question.text(await method_of(verb.question.read)(client, **named), arguments))
        record = await verb.function(client, **arguments)
        if record is not None:
            print_record(record, as_json=as_json)
    return 0


def _require_yes(question: str) -> None:
    """Show what will be done, and ask.

    Raises:
        Refused: nobody agreed.

    """
    print(f"technopay: {question}.", file=sys.stderr)
    if not sys.stdin.isatty():
        raise Refused("nothing was done: there is no terminal to ask; --yes does it without a question")
    # Not by typer's confirm, which writes to standard output, where the record belongs.
    print("Do it? [y/N]: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Refused("nothing was done")


async def _list(verb: Verb, client: Client, arguments: dict[str, Any], *, as_json: bool) -> None:
    """List page by page: a page can be short while there is a next one."""
    wanted, records, currency = arguments["limit"], list[Record](), None
    if verb.currency_of and not as_json:
        named = {verb.argument: arguments[verb.argument]}
        currency = (await method_of(verb.currency_of)(client, **named)).currency
    cursor: str | None = arguments.get("cursor", "")
    for _ in range(PAGES_MAX):
        most = min(wanted - len(records), PAGE_MAX)
        page = await verb.function(client, **arguments | {"limit": most, "cursor": cursor})
        records += page.data
        cursor = page.next_cursor
        if cursor is None or len(records) >= wanted:
            break
    if isinstance(page, Statement):
        print_statement(page.model_copy(update={"data": records}), as_json=as_json)
    else:
        print_records(records, currency, as_json=as_json)
    if cursor is not None:
        print(f"technopay: there can be more; go on with --cursor {cursor}", file=sys.stderr)
