"""Breakages of the services behind HTTP and SMTP."""

from planted.breakage import Breakage, Edit

REQUESTS = "http/technopay/http/services/signed_requests.py"
SETTLEMENT = "http/technopay/http/services/settlement.py"
SMTP = "engine/technopay/engine/notifications/smtp.py"
SMTP_SETTINGS = "engine/technopay/engine/notifications/smtp_settings.py"
SIGNED = "tests/unit/http/services/test_signed_requests.py"
OTHER_REPLY = f"{SIGNED}::test_any_other_reply_is_an_error_and_is_not_asked_again"
MAILS = "tests/unit/engine/notifications"
KILL_POINTS = "tests/faults/test_kill_points.py"
ASK = 'return await self._requests.send("settle", terms.payment_id, terms._asdict(), SETTLE)'
CLOSED = "                except BaseException:\n                    connection.close()\n"

SERVICES = (
    Breakage(
        "lost-reply-is-a-no",
        "A settlement whose reply is lost over HTTP decides nothing.",
        (
            Edit(
                SETTLEMENT,
                f"        {ASK}",
                f"        try:\n            {ASK}\n"
                '        except aiohttp.ClientError:\n            return "declined"',
            ),
        ),
        (
            f"{OTHER_REPLY}[settle-a cut connection]",
            f"{KILL_POINTS}::test_a_settlement_over_http_ends_as_the_service_answers_after_a_kill_at_any_point",
        ),
    ),
    Breakage(
        "reply-about-another-payment",
        "A reply is about the payment of its request: the key in it is compared.",
        (Edit(REQUESTS, 'if reply.get("key") != key or state not in states:', "if state not in states:"),),
        (f"{OTHER_REPLY}[settle-another key]",),
    ),
    Breakage(
        "redirect-of-a-service-followed",
        "A redirect of a service is no reply.",
        (Edit(REQUESTS, 'if response.status != 200 or', "if not 200 <= response.status < 400 or"),),
        (f"{OTHER_REPLY}[call_off-a redirect]",),
    ),
    Breakage(
        "refund-under-the-payments-key",
        "The key of a reversal is the id of the refund.",
        (Edit(SETTLEMENT, 'send("reverse", refund.id,', 'send("reverse", terms.payment_id,'),),
        (f"{SIGNED}::test_a_request_is_as_documented_and_signed[reverse]",),
    ),
    Breakage(
        "password-over-plain-smtp",
        "A password is sent over TLS, or to this machine.",
        (Edit(SMTP_SETTINGS, "            raise ValueError(UNENCRYPTED_RULE)", "            pass"),),
        (f"{MAILS}/test_smtp_settings.py::test_a_url_that_is_wrong_is_refused_by_its_rule_and_never_shown",),
    ),
    Breakage(
        "starttls-if-the-server-likes",
        "Without TLS that was asked for, a server gets no message.",
        (Edit(SMTP, 'start_tls=server.tls == "starttls",', "start_tls=None,"),),
        (f"{MAILS}/test_smtp.py::test_a_server_without_starttls_gets_no_message",),
    ),
    Breakage(
        "header-out-of-a-payee",
        "A payee adds no header to an e-mail.",
        (Edit(SMTP, '_one_line(message.payee).replace(ENCODED, "= ?")', "_one_line(message.payee)"),),
        (f"{MAILS}/test_smtp_messages.py::test_no_payee_and_no_text_gets_out_of_its_place",),
    ),
    Breakage(
        "slow-mail-sent-again",
        "An e-mail on its way is not stopped by its caller, and its repeat joins it.",
        (Edit(SMTP, "await asyncio.shield(sending)", "await sending"),),
        (f"{MAILS}/test_smtp.py::test_a_caller_that_leaves_does_not_stop_a_message_and_its_repeat_joins_it",),
    ),
    Breakage(
        "half-sent-mail-repeated",
        "On a kept connection, only the beginning of an e-mail is repeated.",
        (
            Edit(SMTP, f"{CLOSED}{' ' * 20}raise\n", f"{CLOSED}{' ' * 20}await self._send(message)\n"),
        ),
        (f"{MAILS}/test_smtp.py::test_a_new_connection_that_is_lost_and_one_lost_amid_a_message_are_errors",),
    ),
)  # fmt: skip
