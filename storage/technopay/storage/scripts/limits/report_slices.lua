-- report_slices(rule, currency, period, epoch, reports...)
--
-- Note the totals of partitions in the home of a limit, and the epoch up to which they know the limit.
--
-- reports  four each: partition, granted, returned, used
--
-- Returns {code, now, ''}

local name = rule .. ':' .. currency
for i = 1, #reports, 4 do
    local partition, granted, returned, used = unpack(reports, i, i + 3)
    local quota, field = read_quota(name, period, partition), 'reported:' .. partition
    note_report(quota, granted, returned, used)
    write_quota(quota)
    redis.call('HSET', key('quota', name), field, larger(fields('quota', name, field), epoch))
end
return {'ok', at, ''}
