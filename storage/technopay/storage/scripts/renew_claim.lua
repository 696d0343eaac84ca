-- renew_claim(keys=[journal], args=[payment, claim, claim_ms, set_aside])
--
-- Keep a payment's claim for `claim_ms` more, or with 0 give it up; with set_aside '1' leave it to an operator.
--
-- Returns {code, now, ''}: 'ok', or 'fenced' for an old claim.
--@include base
--@include pack
--@include payment

local id, claim, claim_ms, set_aside = unpack(ARGV, 1, 4)

local current, is_set_aside, status, version = fields('payment', id, 'claim', 'set_aside', 'status', 'version')
if current ~= claim then
    return {'fenced', at, ''}
end
exempt_from_memory_limit()
redis.call('ZADD', key('agenda'), int(now + claim_ms), id)
if set_aside == '1' and not is_set_aside then
    local changed = next_version(status, version)
    redis.call('HSET', key('payment', id), 'set_aside', '1', 'version', changed)
    redis.call('ZADD', key('set_aside'), 0, id)
    append('payment.set_aside', id, 'version', changed)
end
return {'ok', at, ''}
