"""Breakages of webhooks."""

from planted.breakage import Breakage, Edit, engine, lua

SCRIPTS = "tests/unit/storage/test_webhooks.py"
LIBRARY = "tests/feature/test_library_webhooks.py"
SENDER = "tests/unit/http/webhooks/test_sender.py"
SENDER_FILE = "http/technopay/http/webhooks/sender.py"

WEBHOOKS = (
    Breakage(
        "webhook-order",
        "A payment's later events wait until the earlier one is delivered or dead.",
        (
            lua(
                "record_delivery",
                "    redis.call('ZADD', key('due', webhook_id), next_at, subject)\n",
                "    local queue = key('queue', delivery_name(webhook_id, subject))\n"
                "    redis.call('RPUSH', queue, redis.call('LPOP', queue))\n",
            ),
        ),
        (f"{SCRIPTS}::test_a_later_event_is_sent_after_the_earlier_one_is_dead[fake]",),
    ),
    Breakage(
        "webhook-body-read-again",
        "Every attempt at a delivery has the same body.",
        (
            lua(
                "take_deliveries",
                "attempts, record}",
                "attempts,\n        record_of(subject, SUBJECTS[string.sub(subject, 1, 4)].read)}",
            ),
        ),
        (f"{SCRIPTS}::test_every_attempt_has_the_subject_as_it_was_when_the_event_was_read[fake]",),
    ),
    Breakage(
        "webhook-old-claim",
        "Only the holder of the claim records an attempt.",
        (lua("record_delivery", "elseif current ~= claim or status", "elseif status"),),
        (
            f"{SCRIPTS}::test_an_old_claim_records_nothing_and_a_repeat_changes_nothing[fake]",
            f"{SCRIPTS}::test_a_claim_ends_after_15_seconds",
        ),
    ),
    Breakage(
        "webhook-secret-recorded",
        "The idempotency record of a creation has no secret.",
        (lua("save_webhook", "shown.secrets = nil\n", ""),),
        (f"{SCRIPTS}::test_a_change_of_another_epoch_is_a_conflict_and_a_repeat_has_no_secret[fake]",),
    ),
    Breakage(
        "webhook-brought-back",
        "A late copy of an earlier change does not bring a deleted webhook back.",
        (lua("note_webhook", "if tonumber(known or '0') > tonumber(epoch) then", "if false then"),),
        (f"{SCRIPTS}::test_a_deleted_webhook_leaves_nothing_behind",),
    ),
    Breakage(
        "webhook-resolved-twice",
        "The address that was checked is the one that is connected to.",
        (
            Edit(
                SENDER_FILE,
                "        return allowed\n",
                "        return await self._resolver.resolve(host, port, family)\n",
            ),
        ),
        (f"{SENDER}::test_an_answer_that_changes_between_check_and_connection_is_of_no_use",),
    ),
    Breakage(
        "webhook-address-in-url",
        "An address in a URL is checked at every try.",
        (Edit(SENDER_FILE, "url_error(url, self._private)", 'url_error(url, "allow")'),),
        (f"{SENDER}::test_an_address_in_a_url_is_checked_at_every_try",),
    ),
    Breakage(
        "webhook-redirect-followed",
        "A redirect is not followed.",
        (Edit(SENDER_FILE, "allow_redirects=False", "allow_redirects=True"),),
        (f"{SENDER}::test_a_redirect_is_not_followed",),
    ),
    Breakage(
        "webhook-takes-all",
        "A slow endpoint has a bounded share of a process.",
        (engine("webhooks/deliveries", "min(SENDS_MAX - self._taken[webhook_id], ROOM_MAX)", "ROOM_MAX * 10"),),
        (f"{LIBRARY}::test_a_slow_endpoint_delays_no_other_one[fake]",),
    ),
    Breakage(
        "webhook-gone-goes-on",
        "An endpoint that answers 410 is switched off.",
        (engine("webhooks/deliveries", "if answer.status == GONE:", "if answer.status == -1:"),),
        (f"{LIBRARY}::test_an_endpoint_that_is_gone_is_switched_off_until_it_is_active_again[fake]",),
    ),
)
