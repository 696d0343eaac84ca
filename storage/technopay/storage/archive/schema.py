"""The tables of an archive, by version. `docs/archive.md` describes them for their readers.

`partition`, `entry_ms` and `entry_number` name an entry of the journal. Times are milliseconds since 1970,
amounts are minor units of their currency, signed in `entries`.
"""

from technopay.storage.archive.database import ArchiveUnfit, Change, Database

WALLET = "coalesce(fields ->> 'wallet', subject)"
MOVES_MONEY = (
    "type IN ('wallet.deposited', 'wallet.withdrawn', 'wallet.adjusted', 'payment.processing',"
    " 'payment.failed', 'payment.refunded', 'payment.partially_refunded') AND fields ->> 'amount' IS NOT NULL"
)
KINDS = (
    "WHEN 'wallet.deposited' THEN 'deposit' WHEN 'wallet.withdrawn' THEN 'withdrawal'"
    " WHEN 'wallet.adjusted' THEN 'adjustment' WHEN 'payment.processing' THEN 'payment' ELSE 'refund'"
)
VERSIONS = (
    (
        """
        CREATE TABLE positions (
            partition BIGINT PRIMARY KEY,
            entry_ms BIGINT NOT NULL,
            entry_number BIGINT NOT NULL,
            chain TEXT NOT NULL,
            entries BIGINT NOT NULL
        )
        """,
        """
        CREATE TABLE events (
            partition BIGINT NOT NULL,
            entry_ms BIGINT NOT NULL,
            entry_number BIGINT NOT NULL,
            at_ms BIGINT NOT NULL,
            type TEXT NOT NULL,
            subject TEXT NOT NULL,
            fields JSON NOT NULL,
            chain TEXT NOT NULL,
            PRIMARY KEY (partition, entry_ms, entry_number)
        )
        """,
        "CREATE INDEX events_of ON events (subject)",
        """
        CREATE TABLE payments (
            id TEXT NOT NULL,
            partition BIGINT NOT NULL,
            user_id TEXT NOT NULL,
            wallet_id TEXT NOT NULL,
            invoice_id TEXT NOT NULL,
            merchant TEXT NOT NULL,
            amount BIGINT NOT NULL,
            refunded_amount BIGINT NOT NULL,
            currency TEXT NOT NULL,
            status TEXT NOT NULL,
            created_at_ms BIGINT NOT NULL,
            paid_at_ms BIGINT,
            settled_at_ms BIGINT,
            record JSON NOT NULL,
            read_ms BIGINT NOT NULL,
            read_number BIGINT NOT NULL,
            digest TEXT NOT NULL,
            PRIMARY KEY (partition, id)
        )
        """,
        "CREATE INDEX payments_of_user ON payments (user_id, id)",
        "CREATE INDEX payments_of_invoice ON payments (invoice_id)",
        """
        CREATE TABLE invoices (
            id TEXT NOT NULL,
            partition BIGINT NOT NULL,
            user_id TEXT NOT NULL,
            merchant TEXT NOT NULL,
            reference TEXT,
            description TEXT,
            amount BIGINT NOT NULL,
            currency TEXT NOT NULL,
            status TEXT NOT NULL,
            created_at_ms BIGINT NOT NULL,
            expires_at_ms BIGINT NOT NULL,
            paid_at_ms BIGINT,
            payment_id TEXT,
            record JSON NOT NULL,
            read_ms BIGINT NOT NULL,
            read_number BIGINT NOT NULL,
            digest TEXT NOT NULL,
            PRIMARY KEY (partition, id)
        )
        """,
        "CREATE INDEX invoices_of_user ON invoices (user_id, id)",
        "CREATE INDEX invoices_of_merchant ON invoices (merchant, reference)",
        "CREATE INDEX created_wallets ON events (subject) WHERE type = 'wallet.created'",
        """
        CREATE VIEW wallets AS
        SELECT subject AS id, partition, fields ->> 'user' AS user_id, fields ->> 'currency' AS currency,
            at_ms AS created_at_ms
        FROM events WHERE type = 'wallet.created'
        """,
        f"CREATE INDEX entries_of_wallet ON events ({WALLET}, entry_ms, entry_number) WHERE {MOVES_MONEY}",
        f"""
        CREATE VIEW entries AS
        SELECT partition, entry_ms, entry_number, {WALLET} AS wallet_id, at_ms,
            CASE type {KINDS} END AS kind,
            CAST(fields ->> 'amount' AS BIGINT) AS amount,
            CAST(fields ->> 'balance' AS BIGINT) AS balance_after,
            CASE WHEN type LIKE 'payment.%' THEN subject END AS payment_id,
            fields ->> 'refund' AS refund_id, fields ->> 'reference' AS reference,
            fields ->> 'note' AS note, fields ->> 'by' AS operator
        FROM events WHERE {MOVES_MONEY}
        """,  # noqa: S608
        """
        CREATE VIEW limits_by_day AS
        SELECT day, currency, CAST(sum(amount) AS BIGINT) AS used FROM (
            SELECT coalesce(fields ->> 'global_period', fields ->> 'day') AS day, currency,
                CASE type WHEN 'payment.processing' THEN amount ELSE -amount END AS amount
            FROM events JOIN payments ON payments.id = events.subject
            WHERE type = 'payment.processing'
                OR type = 'payment.failed' AND fields ->> 'reason' = 'settlement_failed'
        ) AS debits
        GROUP BY day, currency
        """,
    ),
    (
        # In the order of bytes, as ids are in the store.
        "DROP INDEX payments_of_user",
        "CREATE INDEX payments_of_user ON payments (user_id, id COLLATE BINARY)",
        "DROP INDEX invoices_of_user",
        "CREATE INDEX invoices_of_user ON invoices (user_id, id COLLATE BINARY)",
        """
        CREATE TABLE checkpoints (
            partition BIGINT NOT NULL,
            entry_ms BIGINT NOT NULL,
            entry_number BIGINT NOT NULL,
            entries BIGINT NOT NULL,
            chain TEXT NOT NULL,
            digest_before TEXT NOT NULL,
            digest TEXT NOT NULL,
            PRIMARY KEY (partition, entry_ms, entry_number),
            UNIQUE (partition, digest_before)
        )
        """,
        """
        CREATE TABLE checkpoint_rows (
            partition BIGINT NOT NULL,
            entry_ms BIGINT NOT NULL,
            entry_number BIGINT NOT NULL,
            number BIGINT NOT NULL,
            content JSON NOT NULL,
            PRIMARY KEY (partition, entry_ms, entry_number, number)
        )
        """,
    ),
)
"""The statements that lead from each version to the next one."""
IDENTITY = "CREATE TABLE IF NOT EXISTS archive (name TEXT PRIMARY KEY, value TEXT NOT NULL)"
ADD_ONCE = "INSERT INTO archive VALUES ($1, $2) ON CONFLICT (name) DO NOTHING"
RAISE = "UPDATE archive SET value = $1 WHERE name = 'schema' AND value = $2"


async def create_or_raise(database: Database) -> None:
    """Create the tables, or bring those of an earlier version to the present one.

    Raises:
        ArchiveUnfit: they are of a later version.

    """
    await database.write([Change(IDENTITY), Change(ADD_ONCE, [("schema", "0")])])
    while (version := await read_version(database)) < len(VERSIONS):
        # Of two processes that begin at once, one changes nothing and reads the version again.
        raised = Change(RAISE, [(str(version + 1), str(version))], is_condition=True)
        await database.write([raised, *map(Change, VERSIONS[version])])
    await require_schema(database)


async def require_schema(database: Database) -> None:
    """Raise ArchiveUnfit unless the tables are of the present version."""
    version, ours = await read_version(database), len(VERSIONS)
    if version != ours:
        remedy = "use a later one" if version > ours else "`technopay archive run` raises it"
        raise ArchiveUnfit(f"the archive has schema {version}, this program {ours}: {remedy}")


async def read_version(database: Database) -> int:
    ((version,),) = await database.fetch("SELECT value FROM archive WHERE name = 'schema'")
    return int(version)
