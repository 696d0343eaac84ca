"""Operations on limits."""

from technopay.engine.commands import SetLimit
from technopay.engine.fields import Currency, LimitAmount, UserId
from technopay.engine.models import Limit
from technopay.engine.operation import operation
from technopay.engine.reads import ReadLimits
from technopay.engine.runtime import Runtime


@operation("validation_failed")
async def set_limit(runtime: Runtime, *, currency: Currency, amount: LimitAmount | None) -> Limit:
    """Set the global daily limit of a currency; None lifts it, 0 stops all payments."""
    called = runtime.operation("set_limit", (currency,), None, [amount])
    return await runtime.value_of(SetLimit(called, currency, amount))


@operation("validation_failed")
async def list_limits(runtime: Runtime, *, user_id: UserId) -> list[Limit]:
    """List the limits that bind a user: those of the currencies of the user's wallets."""
    return await runtime.value_of(ReadLimits(user_id))


@operation()
async def list_all_limits(runtime: Runtime) -> list[Limit]:
    """List all limits that were ever set; a lifted one has the limit None."""
    return await runtime.value_of(ReadLimits())
