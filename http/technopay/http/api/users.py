"""Users."""

from technopay.engine import Engine
from technopay.http.api.fields import NEW_USER_ID
from technopay.http.api.route import Route
from technopay.http.auth.tokens import ADMIN

USER_ROUTES = (
    Route(
        "POST", "/v1/admin/users", ADMIN, Engine.create_user, status=201, fields={"user_id": NEW_USER_ID}
    ),
    Route("GET", "/v1/admin/users", ADMIN, Engine.search_users),
    Route("GET", "/v1/admin/users/{user_id}", ADMIN, Engine.get_user),
    Route(
        "PATCH", "/v1/admin/users/{user_id}", ADMIN, Engine.update_user,
        description="A member that is left out keeps its value. The address that was there and the new one get "
        "a message. A code that was sent before is refused; a resend sends another one, to the new address.",
    ),
    Route(
        "POST", "/v1/admin/users/{user_id}/block", ADMIN, Engine.block_user,
        description="A blocked user cannot start or confirm payments. Reads and refunds go on.",
    ),
    Route("POST", "/v1/admin/users/{user_id}/unblock", ADMIN, Engine.unblock_user),
    Route("POST", "/v1/admin/users/{user_id}/unlock", ADMIN, Engine.unlock_user),
)  # fmt: skip
