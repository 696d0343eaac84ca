-- read_limits(user_id, periods...) no-writes
--
-- Read the limits that were ever set or, for a user, those that bind the currencies of the user's wallets.
--
-- Returns {code, now, '', [limit]}, with {rule:currency} for what cannot be read; 'bounds' when the clock lies outside
-- `periods`.

local held = {}
if user_id ~= '' then
    for _, id in ipairs(wallets_of(user_id)) do
        local is_read, currency = pcall(fields, 'wallet', id, 'currency')
        held[is_read and currency] = true
    end
end

local names = redis.call('SMEMBERS', key('limits'))
table.sort(names, before)
local limits = {}
for _, name in ipairs(names) do
    local rule, currency = string.match(name, '^([^:]+):(.+)$')
    if user_id == '' or held[currency] then
        local is_read, counter = pcall(read_counter, rule_named(rule), currency, user_id, periods)
        if not is_read then
            limits[#limits + 1] = {name}
        elseif not counter then
            return {'bounds', at, ''}
        elseif counter.limit or user_id == '' then
            limits[#limits + 1] = show_limit(counter)
        end
    end
end
return {'ok', at, '', limits}
