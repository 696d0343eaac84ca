-- take_slice(rule, currency, period, mode, epoch, limit, granted, others, left)
--
-- Take what the home of a limit granted to this partition.
--
-- granted  the total of the period; a smaller one than before changes nothing
-- others   what all other partitions used, as last reported
-- left     '' if the home granted what was asked for, else what was left
--
-- Returns {code, now, ''}

local name = rule .. ':' .. currency
local record = key('limit', name)
note_limit(name, mode, epoch, limit)
redis.call('HSET', record, period .. ':granted', larger(fields('limit', name, period .. ':granted'), granted),
    period .. ':others', others)
if left ~= '' then
    redis.call('HSET', record, 'short', int(now + SHORT_MS) .. ' ' .. left .. ' ' .. period)
end
return {'ok', at, ''}
