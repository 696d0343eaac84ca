-- read_archive() no-writes
--
-- Read how far the journal is archived, see shared/archive.lua.
--
-- Returns {code, now, '', [last archived entry, milliseconds, last entry that left the store]}, '' for what is unknown

local archived_to, lag_ms, trimmed_to = archive_state()
return {'ok', at, '', {archived_to or '', lag_ms and int(lag_ms) or '', trimmed_to or ''}}
