-- migrate_limits(currencies...)
--
-- Name limits and their counters by their rule: those of schema 5 are of the one that there was.
--
-- Returns {code, now, ''}

for _, currency in ipairs(currencies) do
    local before, after = key('limit', currency), key('limit', 'global:' .. currency)
    if redis.call('EXISTS', after) == 0 and redis.call('EXISTS', before) == 1 then
        redis.call('RENAME', before, after)
    end
    if redis.call('SREM', key('limits'), currency) == 1 then
        redis.call('SADD', key('limits'), 'global:' .. currency)
    end
end
return {'ok', at, ''}
