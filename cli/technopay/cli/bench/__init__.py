"""`technopay bench`: the engine on a real store, fsync on every write, beside its ceiling and a baseline."""
