-- read_gauges(keys=[journal], args=[])
--
-- Read since when the oldest things wait: an entry of the journal for the relay, a payment for an operator.
--
-- Returns {code, now, '', [written_at or '', paid_at or '']}
--@include base

local cursor = fields('relay', nil, 'cursor')
local waiting = redis.call('XRANGE', KEYS[1], '(' .. (cursor or '0-0'), '+', 'COUNT', 1)[1]
-- Ids sort by time: the first of those that are set aside was started first.
local set_aside = redis.call('ZRANGE', key('set_aside'), 0, 0)[1]
local is_read, paid_at = pcall(fields, 'payment', set_aside, 'paid_at')
return {'ok', at, '', {
    waiting and string.match(waiting[1], '^%d+') or '',
    set_aside and is_read and paid_at or '',
}}
