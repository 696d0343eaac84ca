"""The keys of a store: `{<namespace>:<partition>}:<kind>` or `…:<kind>:<id>`.

The part in braces is the hash tag: all keys of a partition are in one slot. Scripts build their keys in the
same way, under the tag of the key that they get.
"""

from dataclasses import dataclass

KINDS = {
    "meta": "hash: incarnation, schema, partitions, timezone, secret_id, secret_ids, created_at, demo, "
    "clock_behind_ms: how far ids of the journal were ever ahead of the clock; "
    "lost:<entry> for a lost one, until its loss is accepted; "
    "migrated_from and migration_position while it is migrated",
    "journal": "stream: every movement and every change of state, in commit order; first type and subject",
    "agenda": "zset: due work by time: pay_…, msg_…, op_…, whk_…, dlv_…",
    "set_aside": "zset: payments that wait for an operator",
    "limits": "set: currencies whose limit was ever set",
    "used": "string by bucket: digests of the references of invoices that left the store, 16 bytes each",
    "references": "hash: <length of merchant>:<merchant><reference>, in NFC, to invoice",
    "relay": "hash: cursor in the journal, claim, owner, claimed_until",
    "archive": "hash: archived_to, chain: the last archived entry and the digest up to it; claim, owner, "
    "claimed_until; trimmed_to, checkpoint, dropped_to: see shared/trimmable.lua; trim_claim, trimmer, "
    "trimming_until",
    "engines": "zset: engines by the time until which they count; in the first partition",
    "tick": "string: written so that replicas acknowledge it, see server/replication.py",
    "user": "hash by user: status, email, phone, address_version, created_at, a field for each wallet; "
    "rate limits",
    "invoices": "zset by user: invoice ids",
    "payments": "zset by user: payment ids",
    "wallet": "hash by wallet: user, currency, balance, ledger (with what may return), status, lease",
    "entries": "list by wallet: ids of journal entries",
    "deposits": "hash by wallet: reference of a deposit to its journal entry and amount",
    "invoice": "hash by invoice",
    "payment": "hash by payment",
    "code": "string by payment: the state of its code as JSON, while it waits for it",
    "limit": "hash by rule, currency and user: limit, and used amount by period; slices, see shared/slices.lua",
    "quota": "hash by rule and currency, and by period, in the home of a limit: see shared/quota.lua",
    "operation": "hash by operation: fingerprint and reply, for 72 hours",
    "message": "hash by journal entry: a message that was not delivered at once, for 72 hours",
    "webhooks": "hash: version of all webhooks, epoch of each; in the first partition",
    "endpoint": "hash by webhook: url, merchant, types, status, encrypted secrets; in the first partition",
    "webhook": "hash by webhook: what a partition knows of it, see shared/webhook.lua",
    "delivery": "hash by webhook and journal entry: an event on its way, or delivered, or dead",
    "deliveries:waiting": "zset by webhook: journal entries",
    "deliveries:dead": "zset by webhook: journal entries",
    "deliveries:delivered": "zset by webhook: journal entries, of 72 hours",
    "queue": "list by webhook and subject: journal entries that wait, in order",
    "due": "zset by webhook: subjects with a queue, by the time when the first one is due",
    "mock:settlement": "hash by payment: the book of the mock settlement service",
    "mock:inbox": "list by user: messages of the mock channels",
}
"""The kinds of keys, with their types and contents."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one partition. Namespaces separate the stores in one database."""

    namespace: str = "tp"
    partition: int = 0

    def key(self, kind: str, record_id: str | None = None) -> str:
        assert kind in KINDS, kind
        key = f"{{{self.tag}}}:{kind}"
        return key if record_id is None else f"{key}:{record_id}"

    @property
    def tag(self) -> str:
        """The hash tag, which decides the slot."""
        return f"{self.namespace}:{self.partition:02x}"

    @property
    def journal(self) -> str:
        return self.key("journal")

    def guard(self, incarnation: str | None) -> str:
        """Return a key that never exists, see shared/base.lua."""
        guard = f"{{{self.tag}}}:guard"
        return guard if incarnation is None else f"{guard}:{incarnation}"
