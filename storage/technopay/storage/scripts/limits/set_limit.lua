-- set_limit(operation_id, fingerprint, kept_ms, currency, amount, days)
--
-- Set the global daily limit of a currency; '' lifts it, '0' stops all payments. What was used stays counted.
--
-- Returns {code, now, '', limit}; 'bounds' when the clock lies outside `days`.

if amount ~= '' then
    require_amount(amount, 0)
end

-- A late copy must not undo what was set since: kept is also what changed nothing.
local answered = earlier(operation_id, fingerprint)
if answered then
    return answered
end
local limit = read_limit(currency, days)
if not limit then
    return {'bounds', at, ''}
end
redis.call('SCARD', key('limits')) -- it has to be a set before anything is written
if (limit.limit or '') ~= amount then
    if amount == '' then
        redis.call('HDEL', key('limit', currency), 'limit')
    else
        redis.call('HSET', key('limit', currency), 'limit', amount)
    end
    append('limit.set', currency, 'limit', amount)
end
redis.call('SADD', key('limits'), currency)
limit.limit = amount ~= '' and amount or nil
return remember(operation_id, fingerprint, kept_ms, {'ok', at, '', flat(limit)})
