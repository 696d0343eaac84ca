-- report_slice(rule, currency, period, holder, granted, returned, used, epoch)
--
-- Note the totals of a partition in the home of a limit, and the epoch up to which it knows the limit.
--
-- Returns {code, now, ''}

local name = rule .. ':' .. currency
local quota = read_quota(name, period)
note_report(quota, holder, granted, returned, used)
write_quota(name, period, quota)
local field = 'reported:' .. holder
redis.call('HSET', key('quota', name), field, larger(fields('quota', name, field), epoch))
return {'ok', at, ''}
