"""Breakages of the limits on behaviour: on codes, on attempts and on wrong codes of a user."""

from planted.breakage import Breakage, lua

BEHAVIOUR = "tests/unit/storage/test_behaviour.py"
LOCK_OUT = "tests/feature/test_library_lock_out.py"
OVER_HTTP = "tests/feature/test_http_behaviour.py"

COUNTED_ONCE = f"{BEHAVIOUR}::test_a_confirm_that_comes_again_is_counted_once_and_answered_over_the_limit"
RIGHT_CODE = f"{BEHAVIOUR}::test_the_right_code_is_refused_when_it_was_tried_too_often_and_taken_afterwards"
RATE_LIMIT = "local rate_limit = exceeded('confirms', confirms_left_ms)"

LIMITS_ON_BEHAVIOUR = (
    Breakage(
        "confirms-not-counted",
        "A confirm whose code was judged is counted, also when the code was right.",
        (lua("confirm_payment", "count(user_id, 'confirms', confirms)\n", ""),),
        (
            f"{COUNTED_ONCE}[fake-right]",
            f"{OVER_HTTP}::test_429_for_confirms_within_a_minute",
        ),
    ),
    Breakage(
        "right-code-passes-over-limit",
        "Whoever confirmed too often is refused with the right code, too, and so learns nothing of it.",
        (
            lua(
                "confirm_payment",
                "if rate_limit then\n    return reply('rate_limited', rate_limit)",
                "if rate_limit and versions == ',' then\n    return reply('rate_limited', rate_limit)",
            ),
        ),
        (
            f"{RIGHT_CODE}[fake]",
            f"{OVER_HTTP}::test_429_for_confirms_within_a_minute",
        ),
    ),
    Breakage(
        "window-extended-by-clock-back",
        "A clock that jumped back does not make the window of a limit longer than it ever was.",
        (
            lua(
                "shared/rate_limits",
                "if left_ms <= 0 or left_ms > length_ms then",
                "if left_ms <= 0 then",
            ),
        ),
        (f"{BEHAVIOUR}::test_a_clock_that_jumped_back_does_not_make_a_window_longer",),
    ),
    Breakage(
        "rate-limit-after-the-code",
        "A limit on behaviour is judged before the code is compared: over the limit, a guess reveals nothing.",
        (
            lua(
                "confirm_payment",
                f"{RATE_LIMIT}\nif rate_limit then\n    return reply('rate_limited', rate_limit)\nend\n",
                "",
            ),
            lua(
                "confirm_payment",
                "local refused =",
                f"{RATE_LIMIT}\nif rate_limit then\n    return reply('rate_limited', rate_limit)\nend\n"
                "local refused =",
            ),
        ),
        (f"{RIGHT_CODE}[fake]",),
    ),
    Breakage(
        "locked-out-user-gets-codes",
        "While wrong codes lock a user out, nothing is started and no code is sent.",
        (lua("start_payment", "elseif locked then\n    return refuse('rate_limited', locked)\n", ""),),
        (f"{LOCK_OUT}::test_nothing_is_started_confirmed_or_resent_and_nothing_is_sent[fake]",),
    ),
)
