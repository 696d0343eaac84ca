-- archive: how far the journal of the partition is archived.

-- The last archived entry, and for how many milliseconds the first one behind it waits, 0 if there is none; nil for what
-- is unknown. Without an archiver, ever, nothing waits.
local function archive_state()
    local archived_to, claim = fields('archive', nil, 'archived_to', 'claim')
    if not claim then
        return nil, nil
    end
    local waiting = redis.call('XRANGE', journal, '(' .. (archived_to or '0-0'), '+', 'COUNT', 1)[1]
    return archived_to or nil, waiting and math.max(0, now - tonumber(string.match(waiting[1], '^%d+'))) or 0
end
