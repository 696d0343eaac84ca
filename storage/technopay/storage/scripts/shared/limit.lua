-- limit: the global daily limit of a currency, all users together.
--
-- `days` is '<start> <day>:<end> <day>:<end> <day>:<end>' (yesterday, today, tomorrow in the business
-- time zone; milliseconds), because only the caller knows the zone and only this clock knows the time.

local function read_limit(currency, days)
    if now < tonumber(string.match(days, '^%d+')) then
        return nil
    end
    for day, ends_at in string.gmatch(days, '([%d-]+):(%d+)') do
        if now < tonumber(ends_at) then
            local fields = redis.call('HMGET', key('limit', currency), 'limit', day)
            return {currency = currency, day = day, resets_at = ends_at, limit = fields[1], used = fields[2] or '0'}
        end
    end
    return nil
end

-- Without a limit the sum of a day still has to stay an exact integer.
local function over_limit(limit, amount)
    return tonumber(amount) > (tonumber(limit.limit or MAX_AMOUNT) - tonumber(limit.used))
end

local function limit_details(limit)
    return {
        'currency', limit.currency, 'limit', limit.limit or int(MAX_AMOUNT), 'used', limit.used,
        'resets_at', limit.resets_at,
    }
end
