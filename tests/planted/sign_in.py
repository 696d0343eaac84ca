"""Breakages of authentication, and of the capacity of a process."""

from planted.breakage import Breakage, Edit

UNIT = "tests/unit/http/auth/test_tokens.py"
TOKENS = "tests/feature/test_http_tokens.py::test_a_token_that_is_not_ours_or_not_whole_is_401"
SHEDDING = "tests/unit/http/server/test_load_shedding.py"
RESPONSES = "tests/unit/http/test_responses.py"
LIMITS = "tests/feature/test_http_limits.py"
DEADLINES = "tests/unit/engine/test_deadlines.py"


def http(module: str, old: str, new: str) -> Edit:
    """Change a module of the API."""
    return Edit(f"http/technopay/http/{module}.py", old, new)


SIGN_IN_AND_BOUNDS = (
    Breakage(
        "token-algorithm-from-header",
        "How a token is signed is configured, and not what the token says of itself.",
        (
            http(
                "auth/tokens",
                "algorithms=[self._algorithm]",
                'algorithms=[self._algorithm, jwt.get_unverified_header(token).get("alg", "")]',
            ),
        ),
        (f"{UNIT}::test_the_right_key_with_another_algorithm_is_not_right",),
    ),
    Breakage(
        "exp-not-required",
        "A token has to end.",
        (
            http("auth/tokens", '"require": ["exp", "sub"]', '"require": ["sub"]'),
            http("auth/tokens", 'math.floor(claims["exp"])', 'claims.get("exp", 4_000_000_000)'),
        ),
        (TOKENS, f"{UNIT}::test_the_end_is_required_even_if_all_else_is_right"),
    ),
    Breakage(
        "known-token-never-ends",
        "A token that was checked once still ends when it says.",
        (
            http(
                "auth/tokens",
                "if cached is not None and cached.expires_at > time.time():",
                "if cached is not None:",
            ),
        ),
        (f"{UNIT}::test_a_token_is_checked_once_and_its_end_every_time",),
    ),
    Breakage(
        "audience-not-checked",
        "A token for another audience is none for us.",
        (http("auth/tokens", '"verify_iat": False}', '"verify_iat": False, "verify_aud": False}'),),
        (
            f"{UNIT}::test_issuer_and_audience_are_checked_where_they_are_set",
            f"{UNIT}::test_the_problem_of_a_token_is_named_without_the_right_value[audience]",
        ),
    ),
    Breakage(
        "connections-without-bound",
        "A process has no more connections open than it is told to.",
        (
            http(
                "server/connection",
                "if self._open >= self._limits.connections_max + RESERVE:",
                "if not self._server:",
            ),
        ),
        (f"{LIMITS}::test_beyond_the_reserve_connections_are_answered_without_being_heard",),
    ),
    Breakage(
        "reserve-serves-everybody",
        "The last connections are there for health checks.",
        (
            http("api/request_handler", "        refuse_on_reserve(request)\n", ""),
            http("api/request_handler", "import refuse_on_reserve, respond\n", "import respond\n"),
        ),
        (f"{LIMITS}::test_beyond_the_bound_of_connections_only_what_is_open_to_all_is_answered",),
    ),
    Breakage(
        "header-ends-its-line",
        "No header holds the end of a line, whatever was put into it.",
        (http("server/connection", "if not all(map(str.isprintable, lines)):", "if not lines:"),),
        ("tests/unit/http/server/test_prebuilt_response.py::test_no_header_ends_before_its_line[lines]",),
    ),
    Breakage(
        "resolution-shown-to-users",
        "A response is written as the model of its route: the operators' note is not for users.",
        (
            http(
                "responses",
                "model.__pydantic_serializer__.to_json(record)",
                "record.__pydantic_serializer__.to_json(record)",
            ),
        ),
        (f"{RESPONSES}::test_a_resolution_is_for_operators_alone_also_in_lists_and_problems[Payment]",),
    ),
    Breakage(
        "deadline-hides-a-cancel",
        "Who is cancelled while a deadline passes is cancelled.",
        (
            Edit(
                "engine/technopay/engine/deadlines.py",
                "self._is_over and self._task.uncancel() <= self._cancelling and",
                "self._is_over and",
            ),
        ),
        (f"{DEADLINES}::test_who_is_cancelled_from_outside_in_the_instant_of_the_deadline_is_cancelled",),
    ),
    Breakage(
        "late-loop-lets-all-in",
        "A process that is late takes on less.",
        (http("server/load_shedding", "if lag_s > LATE_S:", "if lag_s < 0:"),),
        (
            f"{SHEDDING}::test_a_late_loop_lets_fewer_in_until_it_is_in_time_again",
            f"{SHEDDING}::test_a_loop_in_time_again_raises_the_limit_step_by_step",
        ),
    ),
    Breakage(
        "begun-before-finished",
        "What was begun is finished before more is begun.",
        (http("api/request_handler", "acquire(starts=self._route.status == 201)", "acquire()"),),
        (f"{LIMITS}::test_requests_beyond_a_bound_are_refused_at_once[an accepted request goes on]",),
    ),
    Breakage(
        "bad-request-logged-whole",
        "Of a request that is no HTTP nothing is logged: there may be a token in it.",
        (
            http(
                "server/connection",
                'logger.debug("a request was no HTTP: %s", type(exc).__name__)',
                'logger.debug("a request was no HTTP: %r", exc)',
            ),
        ),
        ("tests/feature/test_http_raw.py::test_what_is_no_http_is_a_problem_and_the_end_of_the_connection",),
    ),
)
