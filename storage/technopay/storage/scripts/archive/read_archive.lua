-- read_archive() no-writes
--
-- Read how far the journal is archived, see shared/archive.lua.
--
-- Returns {code, now, '', [last archived entry, milliseconds]}, '' for what is unknown

local archived_to, lag_ms = archive_state()
return {'ok', at, '', {archived_to or '', lag_ms and int(lag_ms) or ''}}
