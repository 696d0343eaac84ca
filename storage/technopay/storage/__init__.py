"""technopay's storage: the engine's store on Redis or Valkey, one atomic script per operation."""

from technopay.storage.prepare import initialise_store, migrate_store
from technopay.storage.server.embedded import EmbeddedValkey
from technopay.storage.store import RedisStore

__all__ = ["EmbeddedValkey", "RedisStore", "initialise_store", "migrate_store"]
