-- archive: how far the journal of the partition is archived and trimmed.

-- The last archived entry, for how many milliseconds the first one behind it waits, 0 if there is none, and the last entry
-- that left the store; nil for what is unknown. Without an archiver, ever, nothing waits.
local function archive_state()
    local archived_to, claim, trimmed_to = fields('archive', nil, 'archived_to', 'claim', 'trimmed_to')
    if not claim then
        return nil, nil, nil
    end
    local waiting = redis.call('XRANGE', journal, '(' .. (archived_to or '0-0'), '+', 'COUNT', 1)[1]
    local lag_ms = waiting and math.max(0, now - tonumber(string.match(waiting[1], '^%d+'))) or 0
    return archived_to or nil, lag_ms, trimmed_to or nil
end
