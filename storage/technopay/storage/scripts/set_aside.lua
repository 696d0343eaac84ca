-- set_aside(keys=[journal], args=[payment, claim, interval_ms])
--
-- Leave a payment to an operator, and its service to be asked again after a while.
--
-- Returns {code, now, ''}: 'ok', or 'fenced' for an old claim.
--@include base
--@include finishing
--@include pack
--@include payment

local id, claim, interval_ms = unpack(ARGV, 1, 3)

local current, is_set_aside, status, version = fields('payment', id, 'claim', 'set_aside', 'status', 'version')
if current ~= claim then
    return {'fenced', at, ''}
end
local changed = next_version(status, version)
exempt_from_memory_limit()
redis.call('ZADD', key('set_aside'), 0, id)
redis.call('ZADD', key('agenda'), int(now + interval_ms), id)
if not is_set_aside then
    redis.call('HSET', key('payment', id), 'set_aside', '1', 'version', changed)
    append('payment.set_aside', id, 'version', changed)
end
return {'ok', at, ''}
