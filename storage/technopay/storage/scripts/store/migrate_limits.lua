-- migrate_limits(currencies...)
--
-- Name limits and their counters by their rule: those of schema 5 are of the one that there was.
--
-- Returns {code, now, '', [currency whose limit cannot be read]}

local function migrate(currency)
    local limits, before, after = key('limits'), key('limit', currency), key('limit', 'global:' .. currency)
    local is_set = redis.call('SISMEMBER', limits, currency) == 1
    if redis.call('EXISTS', before) == 1 then
        assert(redis.call('RENAMENX', before, after) == 1, 'a limit that was not migrated before')
    end
    if is_set then
        redis.call('SADD', limits, 'global:' .. currency)
        redis.call('SREM', limits, currency)
    end
end

local unreadable = {}
for _, currency in ipairs(currencies) do
    if not pcall(migrate, currency) then
        unreadable[#unreadable + 1] = currency
    end
end
return {'ok', at, '', unreadable}
