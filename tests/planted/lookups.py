"""Breakages of the operators' look-ups and changes."""

from planted.breakage import Breakage, lua, storage

SEARCH = "tests/unit/storage/test_search.py"
MERGED = "tests/unit/storage/partitions/test_search.py"
ADDRESSES = "tests/unit/storage/test_update_user.py"
METADATA = "tests/unit/storage/test_metadata.py"

LOOKUPS_AND_CHANGES = (
    Breakage(
        "old-code-survives-a-change-of-address",
        "A code that was sent before an address was changed is refused.",
        (
            lua(
                "shared/code_state",
                "    return (code.addresses or '0') == (address_version or '0')\n",
                "    return true\n",
            ),
        ),
        (
            f"{ADDRESSES}::test_the_old_code_costs_an_attempt_and_a_resend_makes_a_new_one[fake]",
            f"{ADDRESSES}::test_a_change_and_back_leaves_the_old_code_dead[fake]",
            f"{ADDRESSES}::test_a_code_that_was_not_sent_yet_is_not_sent_to_the_new_address[fake]",
        ),
    ),
    Breakage(
        "former-address-gets-no-message",
        "The address that was there gets a message of its change.",
        (lua("update_user", "    if before then\n        notify(channel, before, 'removed')\n    end\n", ""),),
        (f"{ADDRESSES}::test_every_address_that_was_there_or_is_new_gets_a_message[fake-command1-expected1]",),
    ),
    Breakage(
        "merged-list-skips",
        "A list over partitions shows an item only when every partition was read up to it.",
        (
            storage(
                "merged_lists",
                "items = [item for part in parts for item in part.items if bound is None or item[0] >= bound]",
                "items = [item for part in parts for item in part.items]",
            ),
        ),
        (f"{MERGED}::test_a_partition_that_has_all_of_the_newest_records_is_read_on[fake-3]",),
    ),
    Breakage(
        "range-begins-at-its-end",
        "A time range begins where the id of an entry can be, also after the clock went back.",
        (lua("shared/search", "int(to + behind_ms)", "int(tonumber(to))"),),
        (f"{SEARCH}::test_a_time_range_has_every_payment_in_it_also_after_the_clock_went_back",),
    ),
    Breakage(
        "metadata-are-lost-at-the-debit",
        "Every view of a payment has the metadata of its invoice.",
        (lua("confirm_payment", "has_metadata and metadata_of(invoice_id)", "false"),),
        (f"{METADATA}::test_metadata_are_on_every_view_of_an_invoice_and_its_payments[fake]",),
    ),
)
"""All breakages."""
