-- renew_claim(keys=[journal], args=[payment, claim, claim_ms, set_aside])
--
-- Keep a payment's claim for `claim_ms` more, or with 0 give it up; with set_aside '1' leave it to an operator.
--
-- Returns {code, now, ''}: 'ok', or 'fenced' for an old claim.
--@include base

local id, claim, claim_ms, set_aside = unpack(ARGV, 1, 4)

local current, is_set_aside = fields('payment', id, 'claim', 'set_aside')
if current ~= claim then
    return {'fenced', at, ''}
end
redis.call('ZADD', key('agenda'), int(now + claim_ms), id)
if set_aside == '1' and not is_set_aside then
    redis.call('HSET', key('payment', id), 'set_aside', '1')
    redis.call('ZADD', key('set_aside'), 0, id)
    append('payment.set_aside', id)
end
return {'ok', at, ''}
