"""References and idempotency keys hold in all partitions."""

import pytest
from support.fixtures.partitioned import USERS
from support.fixtures.store_setup import FAR, Setup, client_of, new_invoice, operation

from technopay.engine.commands import (
    CreateUser,
    CreateWallet,
    FinishDue,
)
from technopay.engine.errors import StoreUnavailable
from technopay.engine.values import Operation
from technopay.storage.commands import (
    ReserveReference,
)
from technopay.storage.creations import home_of_reference


async def test_a_reference_is_used_once_in_all_partitions_until_its_invoice_frees_it(setup: Setup) -> None:
    first = await setup.done(new_invoice("alice", 1, "EUR", FAR, reference="R-1"))
    for user in USERS:
        outcome = await setup.run(new_invoice(user, 1, "EUR", FAR, reference="R-1"))
        assert (outcome.code, outcome.details) == ("reference_used", {"invoice_id": first.id})
    assert (await setup.run(new_invoice("bob", 1, "EUR", FAR, reference="R-2"))).code == "ok"
    await setup.void(first.id)
    second = await setup.done(new_invoice("dave", 1, "EUR", FAR, reference="R-1"))
    outcome = await setup.run(new_invoice("alice", 1, "EUR", FAR, reference="R-1"))
    assert outcome.details == {"invoice_id": second.id}


async def test_a_repeated_creation_has_its_first_result_also_when_its_reference_went_on(setup: Setup) -> None:
    command = new_invoice("alice", 1, "EUR", FAR, reference="R-1")
    first = await setup.done(command)
    await setup.void(first.id)
    second = await setup.done(new_invoice("bob", 1, "EUR", FAR, reference="R-1"))
    again = await setup.run(command)
    assert (again.code, again.replayed, again.value and again.value.id) == ("ok", True, first.id)
    assert (await setup.run(new_invoice("carol", 1, "EUR", FAR, reference="R-1"))).details == {
        "invoice_id": second.id
    }


async def test_a_refused_creation_leaves_its_reference_and_its_key_free(setup: Setup) -> None:
    named = operation()
    refused = await setup.run(new_invoice("nobody", 1, "EUR", FAR, reference="R-1", identity=named))
    assert refused.code == "user_not_found"
    other = Operation(named.operation_id, "another body", named.kept_ms)
    made = await setup.run(new_invoice("bob", 1, "EUR", FAR, reference="R-1", identity=other))
    assert made.code == "ok"


async def test_a_reservation_that_was_left_behind_is_called_off_and_its_late_creation_is_refused(
    setup: Setup,
) -> None:
    store, command = setup.store, new_invoice("alice", 1, "EUR", FAR, reference="R-1")
    home = home_of_reference(list(store._partitions), "Shop", "R-1")
    named = command.operation
    reserved = ReserveReference(
        named.operation_id, named.fingerprint, "Shop", "R-1", command.invoice_id, "0" * 32
    )
    assert (await home.run(reserved)).code == "ok"
    assert (await setup.run(new_invoice("bob", 1, "EUR", FAR, reference="R-1"))).code == "reference_used"

    await setup.run(FinishDue(home.number, "ref_4:ShopR-1"))
    with pytest.raises(StoreUnavailable, match="not created in time"):
        await setup.run(command)
    assert (await setup.run(new_invoice("bob", 1, "EUR", FAR, reference="R-1"))).code == "ok"
    await setup.run(FinishDue(home.number, "ref_4:ShopR-1"))
    assert (await setup.run(new_invoice("carol", 1, "EUR", FAR, reference="R-1"))).code == "reference_used"


@pytest.mark.parametrize(("one", "other"), [("eve", "frank"), ("eve", "eve")])
async def test_a_key_names_one_creation_in_all_partitions(setup: Setup, one: str, other: str) -> None:
    named = operation(fingerprint="one body")
    assert (await setup.run(CreateUser(named, one, "e@example.com", None))).code == "ok"
    repeated = await setup.run(CreateUser(named, one, "e@example.com", None))
    assert (repeated.code, repeated.replayed) == ("ok", True)
    another = Operation(named.operation_id, "another body", named.kept_ms)
    for command in (
        CreateUser(another, other, "o@example.com", None),
        CreateWallet(another, "wal_00new", other, "EUR"),
        new_invoice(other, 1, "EUR", FAR, identity=another),
    ):
        assert (await setup.run(command)).code == "idempotency_key_reused"


@pytest.mark.corrupts
async def test_a_reference_that_is_another_invoices_is_reported(setup: Setup) -> None:
    invoice = await setup.done(new_invoice("alice", 1, "EUR", FAR, reference="R-1"))
    assert (await setup.store.audit()).clean
    home = home_of_reference(list(setup.store._partitions), "Shop", "R-1")
    await client_of(setup.store).hset(home.keys.key("references"), "4:ShopR-1", "inv_00another op digest")
    audit = await setup.store.audit()
    assert [(each.subject, each.found) for each in audit.differences] == [(invoice.id, "inv_00another")]
