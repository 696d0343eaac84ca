-- read_archive() no-writes
--
-- Read up to which entry the journal is archived, and the first one behind it.
--
-- Returns {code, now, '', [entry or '', entry or '']}

local archived_to = fields('archive', nil, 'archived_to')
local waiting = redis.call('XRANGE', journal, '(' .. (archived_to or '0-0'), '+', 'COUNT', 1)[1]
return {'ok', at, '', {archived_to or '', waiting and waiting[1] or ''}}
