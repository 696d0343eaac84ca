-- read_limits(user_id, days) no-writes
--
-- Read the limits that were ever set or, for a user, those that bind the currencies of the user's wallets.
--
-- Returns {code, now, '', [limit]}, with {currency} for what cannot be read; 'bounds' when the clock lies outside `days`.

local currencies = redis.call('SMEMBERS', key('limits'))
if user_id ~= '' then
    local held = {}
    for _, id in ipairs(wallets_of(user_id)) do
        local is_read, currency = pcall(fields, 'wallet', id, 'currency')
        held[is_read and currency] = true
    end
    local bound = {}
    for _, currency in ipairs(currencies) do
        if held[currency] then
            bound[#bound + 1] = currency
        end
    end
    currencies = bound
end
table.sort(currencies, before)
local limits = {}
for _, currency in ipairs(currencies) do
    local is_read, limit = pcall(read_limit, currency, days)
    if not is_read then
        limits[#limits + 1] = {currency}
    elseif not limit then
        return {'bounds', at, ''}
    elseif limit.limit or user_id == '' then
        limits[#limits + 1] = flat(limit)
    end
end
return {'ok', at, '', limits}
