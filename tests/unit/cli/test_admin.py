"""The table of `technopay admin` has the operations of operators, with the options of their methods."""

import inspect
from datetime import UTC, datetime
from typing import Any, get_args, get_type_hints

import pytest
import typer
from typer.testing import CliRunner

from technopay.cli.admin.command import make_app
from technopay.cli.admin.options import arguments_of, is_list, parameters_of
from technopay.cli.admin.printing import print_record, print_records
from technopay.cli.admin.verbs import COLUMNS, VERBS, Verb, find_payments, send_again
from technopay.cli.settings import UsageError
from technopay.engine.models import Entry
from technopay.engine.record import from_ms
from technopay.http.app import API_ROUTES
from technopay.http.auth.tokens import ADMIN


def verb_of(noun: str, name: str) -> Verb:
    return next(verb for verb in VERBS if (verb.noun, verb.name) == (noun, name))


def test_every_operation_of_operators_has_a_verb() -> None:
    operations = {
        "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in route.operation_id)
        for route in API_ROUTES
        if route.scope == ADMIN
    }
    others = {
        "audit", "get_archive", "reconcile", "list_events", "send_delivery_again", "send_dead_deliveries_again",
    }  # fmt: skip
    """`audit`, `archive status` and `reconcile` need no server, `webhooks listen` has the events, and
    `send_again` is both."""
    assert {verb.method for verb in VERBS} == operations - others | {find_payments, send_again}
    assert len({(verb.noun, verb.name) for verb in VERBS}) == len(VERBS)


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: f"{verb.noun} {verb.name}")
def test_a_verb_has_an_option_for_each_parameter_and_columns_for_its_records(verb: Verb) -> None:
    shown = CliRunner().invoke(make_app(), [verb.noun, verb.name, "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    own = list(inspect.signature(verb.function).parameters)[1:]
    assert {each.name.removeprefix("no_") for each in parameters_of(verb)} == set(own)
    if is_list(verb):
        (model,) = get_args(get_type_hints(verb.function)["return"].model_fields["data"].annotation)
        assert set(COLUMNS[model].split()) <= set(model.model_fields)
    if verb.argument:
        assert verb.argument in own


@pytest.mark.parametrize(
    ("verb", "given", "expected"),
    [
        (verb_of("users", "update"), {"user_id": "a", "email": "x"}, {"user_id": "a", "email": "x"}),
        (verb_of("users", "update"), {"user_id": "a", "no_phone": True}, {"user_id": "a", "phone": None}),
        (verb_of("limits", "set"), {"currency": "EUR", "no_amount": True}, {"currency": "EUR", "amount": None}),
        (verb_of("limits", "set"), {"currency": "EUR", "amount": 0}, {"currency": "EUR", "amount": 0}),
        (verb_of("payments", "list"), {"set_aside": False}, {"set_aside": False}),
    ],
)
def test_what_is_not_given_is_not_sent_and_nothing_can_be_set(
    verb: Verb, given: dict[str, Any], expected: dict[str, Any]
) -> None:
    everything = {each.name: None for each in parameters_of(verb)}
    assert arguments_of(verb, everything | given) == expected


@pytest.mark.parametrize("pairs", [["order"], ["a=1", "a=2"]])
def test_metadata_are_pairs_each_name_once(pairs: list[str]) -> None:
    verb = verb_of("invoices", "create")
    given = {each.name: "x" for each in parameters_of(verb)} | {"metadata": pairs}
    with pytest.raises(UsageError, match="--metadata"):
        arguments_of(verb, given)


def test_records_are_printed_with_money_and_without_markup(capsys: pytest.CaptureFixture[str]) -> None:
    given = dict.fromkeys(("refund_id", "reference", "note", "by"))
    entry = Entry(amount=-5, balance_after=1, kind="payment", payment_id="[red]pay", at=from_ms(0), **given)
    print_records([entry], as_json=False)
    print_record(entry, as_json=False)
    print_records([entry, entry], as_json=True)
    out = capsys.readouterr().out
    assert "[red]pay" in out
    assert out.splitlines()[-1] == entry.model_dump_json()
    assert datetime(1970, 1, 1, tzinfo=UTC) == entry.at


def test_an_unknown_noun_is_refused() -> None:
    with pytest.raises(typer.exceptions.TyperException, match="nothing"):
        make_app()(["nothing"], standalone_mode=False)
