-- limit: the global daily limit of a currency, all users together.
--
-- `days` is '<start> <day>:<end> <day>:<end> <day>:<end>' (yesterday, today, tomorrow in the business
-- time zone; milliseconds in 13 digits), because only the caller knows the zone and only this clock knows the
-- time. Every part has its place, so none has to be searched for.

local function read_limit(currency, days)
    if at < string.sub(days, 1, 13) then
        return nil
    end
    for first = 15, 65, 25 do
        local ends_at = string.sub(days, first + 11, first + 23)
        if at < ends_at then
            local day = string.sub(days, first, first + 9)
            local limit, used = fields('limit', currency, 'limit', day)
            return {currency = currency, day = day, resets_at = ends_at, limit = limit, used = used or '0'}
        end
    end
    return nil
end

-- Why the day has no room for an amount, or nil. With a limit or without, its sum has to stay an exact integer.
local function limit_refusal(limit, amount)
    if limit.limit and tonumber(amount) > limit.limit - limit.used then
        return 'daily_limit_exceeded'
    elseif tonumber(amount) > MAX_AMOUNT - limit.used then
        return 'balance_too_large'
    end
    return nil
end

-- '<day> <limit> <used> <resets_at>' as a payment keeps and shows it; without a limit only the day.
local function limit_shown(limit, used)
    if limit.limit then
        return limit.day .. ' ' .. limit.limit .. ' ' .. used .. ' ' .. limit.resets_at
    end
    return limit.day
end

local function limit_details(limit)
    if not limit.limit then
        return {}  -- it was lifted since
    end
    return {
        'currency', limit.currency, 'limit', limit.limit, 'used', limit.used,
        'resets_at', limit.resets_at,
    }
end
