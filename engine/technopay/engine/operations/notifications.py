"""Operations on messages to users."""

from typing import Literal

from technopay.engine import fields
from technopay.engine.commands import SendMessageAgain
from technopay.engine.errors import MessageNotFound
from technopay.engine.fields import JournalCursor, Key, PageLimit, UserId
from technopay.engine.models import Message
from technopay.engine.operation import operation
from technopay.engine.reads import ListMessages
from technopay.engine.record import Page
from technopay.engine.runtime import Runtime, unwrap


@operation("validation_failed")
async def list_messages(
    runtime: Runtime, *, status: Literal["sent", "waiting", "dead"] | None = None,
    user_id: UserId | None = None, limit: PageLimit = 20, cursor: JournalCursor = ""
) -> Page[Message]:  # fmt: skip
    """List messages, newest first. A page can be short while there is a next one."""
    return await runtime.value_of(ListMessages(status, user_id, cursor, limit))


@operation("not_found idempotency_key_reused validation_failed")
async def send_message_again(runtime: Runtime, *, message_id: str, idempotency_key: Key = None) -> Message:
    """Try a dead message again; a message that is not dead is not changed."""
    called = runtime.operation("send_again", (message_id,), idempotency_key, [])
    found = fields.MESSAGE_ID.fullmatch(message_id)
    if not found:
        raise MessageNotFound
    command = SendMessageAgain(called, int(found[1], 16), found[2])
    return unwrap(await runtime.run(command, lambda _: runtime.wake_agenda(command.partition)))
