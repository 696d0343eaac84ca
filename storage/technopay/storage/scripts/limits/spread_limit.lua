-- spread_limit(name, partitions, periods...)
--
-- Read a limit in its home, to spread it to all partitions; note when all of them have it.
--
-- name        rule and currency
-- partitions  how many the store has
--
-- Returns {code, now, '', [mode, epoch, limit, period, granted to each partition …]}: 'ok' while it has not reached all,
-- 'done' when it has, 'bounds' if the clock is outside `periods`.

local period = period_of(rule_named(string.match(name, '^[^:]+')).window, periods)
if not period then
    return {'bounds', at, ''}
end
local record, quota = read('quota', name) or {}, read('quota', name .. ':' .. period) or {}
local epoch, reported = record.epoch or '0', 0
local reply_parts = {record.limit and 'limited' or 'free', epoch, record.limit or '', period}
for number = 0, partitions - 1 do
    local partition = string.format('%02x', number)
    reply_parts[#reply_parts + 1] = quota['g:' .. partition] or '0'
    if tonumber(record['reported:' .. partition] or '0') >= tonumber(epoch) then
        reported = reported + 1
    end
end
if reported < tonumber(partitions) then
    return {'ok', at, '', reply_parts}
end
redis.call('ZREM', key('agenda'), 'lim_' .. name)
return {'done', at, '', reply_parts}
