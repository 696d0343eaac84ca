-- set_aside(payment_id, claim, interval_ms) allow-oom
--
-- Set a payment aside for an operator. Its settlement service is asked again after the interval.
--
-- Returns {code, now, ''}: 'ok', or 'fenced' for an old claim.

local current, is_set_aside, version = fields('payment', payment_id, 'claim', 'set_aside', 'version')
if current ~= claim then
    return {'fenced', at, ''}
end
local changed = next_version(version)
redis.call('ZADD', key('set_aside'), 0, payment_id)
redis.call('ZADD', key('agenda'), int(now + interval_ms), payment_id)
if not is_set_aside then
    redis.call('HSET', key('payment', payment_id), 'set_aside', '1', 'version', changed)
    append('payment.set_aside', payment_id, 'version', changed)
end
return {'ok', at, ''}
