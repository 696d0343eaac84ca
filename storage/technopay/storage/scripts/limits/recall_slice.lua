-- recall_slice(rule, currency, period, mode, epoch, limit, granted)
--
-- Return the unused part of a slice to the home, and note the limit.
--
-- granted  the total that the home has granted: so a grant that is still on its way is returned, too
--
-- Returns {code, now, '', [granted, returned, used]}

local name = rule .. ':' .. currency
local record = key('limit', name)
local was_limited = fields('limit', name, 'mode') == 'limited'
note_limit(name, mode, epoch, limit)
local used, own_granted, returned = fields('limit', name, period, period .. ':granted', period .. ':returned')
used, returned, granted = used or '0', returned or '0', larger(own_granted, granted)
if fields('limit', name, 'mode') == 'limited' then
    if not was_limited then
        granted = larger(granted, int(used + returned)) -- what was used without a limit
    end
    returned = larger(returned, int(granted - used))
    redis.call('HSET', record, period .. ':granted', granted, period .. ':returned', returned)
end
return {'ok', at, '', {granted, returned, used}}
