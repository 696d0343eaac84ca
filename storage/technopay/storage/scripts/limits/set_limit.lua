-- set_limit(operation_id, fingerprint, kept_ms, currency, amount, rule, others, periods...) recorded
--
-- Set the limit of a rule in a currency; '' lifts it, '0' stops all payments. The used amount stays.
--
-- others  what other partitions used; on a store of several partitions this is the home of the limit
--
-- Returns {code, now, '', limit}; 'bounds' if the clock is outside `periods`.

if amount ~= '' then
    require_amount(amount, 0)
end
local counter = read_counter(rule_named(rule), currency, '', periods)
local name = rule .. ':' .. currency
if not counter then
    return {'bounds', at, ''}
end
redis.call('SCARD', key('limits')) -- it has to be a set before anything is written
if is_partitioned then
    -- Every change has its epoch, and so has a call that changes nothing: it spreads what an earlier call did not.
    local known, limit_before = fields('quota', name, 'epoch', 'limit')
    local epoch = int(1 + (known or '0'))
    redis.call('HDEL', key('quota', name), 'limit')
    redis.call('HSET', key('quota', name), 'epoch', epoch, unpack(amount ~= '' and {'limit', amount} or {}))
    redis.call('ZADD', key('agenda'), int(now + SPREAD_MS), 'lim_' .. name)
    if (limit_before or '') ~= amount then
        append('limit.set', currency, 'rule', rule, 'limit', amount)
    end
    counter.slice.others = others
elseif (counter.limit or '') ~= amount then
    if amount == '' then
        redis.call('HDEL', limit_keys(counter.rule, currency, ''), 'limit')
    else
        redis.call('HSET', limit_keys(counter.rule, currency, ''), 'limit', amount)
    end
    append('limit.set', currency, 'rule', rule, 'limit', amount)
end
redis.call('SADD', key('limits'), name)
counter.limit = amount ~= '' and amount or nil
-- A call that changes nothing is recorded, too: a late copy of it must not undo a later change.
return record_reply(operation_id, fingerprint, kept_ms, {'ok', at, '', show_limit(counter)})
