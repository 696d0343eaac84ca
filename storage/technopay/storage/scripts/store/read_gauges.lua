-- read_gauges() no-writes
--
-- Read how long the oldest journal entry waits for the relay, and the oldest payment for an operator.
--
-- Returns {code, now, '', [milliseconds, milliseconds, how many payments wait for an operator]}; '0' if none waits

local cursor = fields('relay', nil, 'cursor')
local waiting = redis.call('XRANGE', journal, '(' .. (cursor or '0-0'), '+', 'COUNT', 1)[1]
-- Ids sort by time: the first payment of the index was started first.
local set_aside = redis.call('ZRANGE', key('set_aside'), 0, 0)[1]
local is_read, paid_at = pcall(fields, 'payment', set_aside, 'paid_at')

local function age_of(since)
    local number = tonumber(since or '')
    return int(number and math.max(0, now - number) or 0)
end

return {'ok', at, '', {
    age_of(waiting and string.match(waiting[1], '^%d+')),
    age_of(set_aside and is_read and paid_at),
    redis.call('ZCARD', key('set_aside')),
}}
