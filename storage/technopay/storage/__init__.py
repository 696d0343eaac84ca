"""technopay's storage: the engine's store on Redis or Valkey, one atomic script per operation."""

from technopay.storage.archive.archive import Archive
from technopay.storage.archive.database import ArchiveUnfit
from technopay.storage.prepare import initialise_store, migrate_store
from technopay.storage.server.embedded import EmbeddedValkey
from technopay.storage.store import RedisStore

__all__ = ["Archive", "ArchiveUnfit", "EmbeddedValkey", "RedisStore", "initialise_store", "migrate_store"]
