"""Breakages of the rules of a cluster."""

from planted.breakage import Breakage, lua, storage

SLOTS = "tests/faults/test_cluster_slots.py"
CLIENT = "tests/unit/storage/server/test_cluster_client.py"
FAILOVERS = "tests/faults/test_cluster_failovers.py"

CLUSTERS = (
    Breakage(
        "no-guard-key",
        "A script never runs in a half-moved slot: its second key, which never exists, keeps it out.",
        (storage("partition", "if incarnation or is_in_cluster else ()", "if False else ()"),),
        (
            f"{SLOTS}::test_nothing_is_written_while_its_slot_is_half_moved[valkey-entries:]",
            f"{SLOTS}::test_no_limit_is_passed_while_its_slot_is_half_moved[redis]",
        ),
    ),
    Breakage(
        "ask-followed",
        "A call of a slot that is being moved is refused, not sent to the node that gets the slot.",
        (
            storage(
                "server/cluster",
                "            if self.client is not None and may_have_moved(reply, self.client):\n",
                '            if text.startswith("ASK "):\n'
                "                node = _named(text)\n"
                "                client = self._cluster._new_client(node, lambda: [], lambda: self.keys)\n"
                '                client.send_call(PendingCall(None, pack(("ASKING",)), lambda _: None))\n'
                "                client.send_call(PendingCall(call.script, call.command, call.on_result))\n"
                "                return\n"
                "            if self.client is not None and may_have_moved(reply, self.client):\n",
            ),
        ),
        (f"{CLIENT}::test_a_slot_that_is_being_moved_is_not_followed[-ASK %d 127.0.0.1:%d\\r\\n]",),
    ),
    Breakage(
        "moved-calls-behind-new-ones",
        "Calls that the former node refused go to the next one before all later calls.",
        (storage("server/cluster", "self._hold(self._moved, call)", "self._hold(self._waiting, call)"),),
        (f"{SLOTS}::test_calls_keep_their_order_while_their_slot_moves[valkey]",),
    ),
    Breakage(
        "two-nodes-at-once",
        "A partition's calls go to another node only when all under way have their outcomes.",
        (storage("server/cluster", "            while self._in_flight:\n", "            while False:\n"),),
        (f"{CLIENT}::test_no_call_is_sent_to_another_node_before_all_under_way_have_their_outcomes",),
    ),
    Breakage(
        "node-clock-set-back",
        "A node whose clock goes back writes the time into its entries: their ids are ahead.",
        (
            lua(
                "shared/base",
                "entry_fields[#entry_fields + 1], entry_fields[#entry_fields + 2] = 'at', at",
                "",
            ),
        ),
        (
            "tests/faults/test_cluster_clocks.py::test_a_node_whose_clock_goes_back_an_hour_loses_and_passes_nothing",
        ),
    ),
    Breakage(
        "lost-data-close-one-node",
        "Data that one node lost close the whole store: limits bind the users of all partitions.",
        (storage("server/cluster", "        if self._cluster.data.unfit:\n", "        if False:\n"),),
        (f"{FAILOVERS}::test_a_loss_closes_all_partitions_until_an_operator_accepts_it[valkey]",),
    ),
)
