-- set_limit(operation_id, fingerprint, kept_ms, currency, amount, rule, periods...) recorded
--
-- Set the limit of a rule in a currency; '' lifts it, '0' stops all payments. The used amount stays.
--
-- Returns {code, now, '', limit}; 'bounds' if the clock is outside `periods`.

if amount ~= '' then
    require_amount(amount, 0)
end
local counter = read_counter(rule_named(rule), currency, '', periods)
if not counter then
    return {'bounds', at, ''}
end
redis.call('SCARD', key('limits')) -- it has to be a set before anything is written
if (counter.limit or '') ~= amount then
    if amount == '' then
        redis.call('HDEL', limit_keys(counter.rule, currency, ''), 'limit')
    else
        redis.call('HSET', limit_keys(counter.rule, currency, ''), 'limit', amount)
    end
    append('limit.set', currency, 'rule', rule, 'limit', amount)
end
redis.call('SADD', key('limits'), rule .. ':' .. currency)
counter.limit = amount ~= '' and amount or nil
-- A call that changes nothing is recorded, too: a late copy of it must not undo a later change.
return record_reply(operation_id, fingerprint, kept_ms, {'ok', at, '', show_limit(counter)})
