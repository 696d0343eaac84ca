-- read_gauges() no-writes
--
-- Read how long the oldest journal entry waits for the relay, the oldest payment for an operator, and the oldest entry for
-- the archive.
--
-- Returns {code, now, '', [milliseconds, milliseconds, how many payments wait for an operator, milliseconds]}; '0' if none
-- waits, '-1' without an archive

local cursor = fields('relay', nil, 'cursor')
local waiting = redis.call('XRANGE', journal, '(' .. (cursor or '0-0'), '+', 'COUNT', 1)[1]
-- Ids sort by time: the first payment of the index was started first.
local set_aside = redis.call('ZRANGE', key('set_aside'), 0, 0)[1]
local is_read, paid_at = pcall(fields, 'payment', set_aside, 'paid_at')

local _, archive_lag_ms = archive_state()

local function age_of(since)
    local number = tonumber(since or '')
    return int(number and math.max(0, now - number) or 0)
end

return {'ok', at, '', {
    age_of(waiting and string.match(waiting[1], '^%d+')),
    age_of(set_aside and is_read and paid_at),
    redis.call('ZCARD', key('set_aside')),
    int(archive_lag_ms or -1),
}}
