"""Breakages of the operators' look-ups and changes."""

from planted.breakage import Breakage, Edit, engine, lua, storage

SEARCH = "tests/unit/storage/test_search.py"
MERGED = "tests/unit/storage/partitions/test_search.py"
ADDRESSES = "tests/unit/storage/test_update_user.py"
STATEMENTS = "tests/unit/storage/test_statements.py"
LIBRARY = "tests/feature/test_library_statements.py"
OVER_HTTP = "tests/feature/test_http_statements.py"
CSV = "tests/unit/http/api/test_statements.py"
HTTP = "http/technopay/http"
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
        "statement-has-its-end",
        "The end of a statement's range is not in it.",
        (lua("read_statement", "< tonumber(time) then", "<= tonumber(time) then"),),
        (f"{STATEMENTS}::test_the_first_millisecond_is_in_the_range_and_the_end_is_not",),
    ),
    Breakage(
        "statement-grows-between-pages",
        "The cursor of a statement keeps the range of its first page.",
        (lua("read_statement", "tonumber(start), tonumber(last)", "tonumber(start), total"),),
        (f"{STATEMENTS}::test_pages_fit_together_while_new_entries_come[fake-1]",),
    ),
    Breakage(
        "statement-takes-any-number",
        "A cursor of a statement that is behind the last entry is refused.",
        (lua("read_statement", "        return {'no_page', at, ''}\n", "        last = total\n"),),
        (f"{STATEMENTS}::test_a_cursor_behind_the_last_entry_is_of_no_page[fake]",),
    ),
    Breakage(
        "statement-takes-numbers-in-any-order",
        "The numbers of a statement's cursor are in order.",
        (engine("fields", "(found and int(found[1]) < int(found[2]) < int(found[3]))", "found"),),
        (f"{LIBRARY}::test_a_cursor_that_no_page_has_is_refused[fake]",),
    ),
    Breakage(
        "range-of-times-is-rounded-down",
        "A bound within a millisecond is behind that millisecond.",
        (engine("record", "max(1, to_ms_up(at))", "max(1, to_ms(at))"),),
        (f"{LIBRARY}::test_a_time_counts_by_its_instant_to_the_microsecond[fake]",),
    ),
    Breakage(
        "empty-range-of-times-is-taken",
        "A range of times has a beginning before its end.",
        (engine("fields", "begin >= end", "begin > end"),),
        (f"{LIBRARY}::test_a_range_has_a_beginning_before_its_end[fake]",),
    ),
    Breakage(
        "statement-of-somebody-else",
        "A user reads the statement of an own wallet only.",
        (lua("read_statement", "is_shown_to(user_id,", "is_shown_to('',"),),
        (
            f"{STATEMENTS}::test_a_wallet_of_another_user_does_not_exist[fake]",
            f"{LIBRARY}::test_a_user_reads_the_statement_of_an_own_wallet_only[fake]",
        ),
    ),
    Breakage(
        "csv-lacks-its-opening-balance",
        "The rows of a statement as CSV add up.",
        (Edit(f"{HTTP}/api/statements.py", "    if is_first:\n", "    if is_first and statement.data:\n"),),
        (f"{OVER_HTTP}::test_csv_of_an_operator_links_to_its_own_path_and_an_empty_one_has_its_balances",),
    ),
    Breakage(
        "csv-has-formulas",
        "No text of a CSV is a formula to a spreadsheet.",
        (Edit(f"{HTTP}/api/statements.py", "text and text.startswith(FORMULA_STARTS)", "None"),),
        (f"{CSV}::test_a_text_that_begins_like_a_formula_is_quoted_as_text_and_a_number_is_not",),
    ),
    Breakage(
        "metadata-are-lost-at-the-debit",
        "Every view of a payment has the metadata of its invoice.",
        (lua("confirm_payment", "has_metadata and metadata_of(invoice_id)", "false"),),
        (f"{METADATA}::test_metadata_are_on_every_view_of_an_invoice_and_its_payments[fake]",),
    ),
)
"""All breakages."""
