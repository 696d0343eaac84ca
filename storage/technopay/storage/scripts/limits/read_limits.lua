-- read_limits(user_id, periods...) no-writes
--
-- Read all limits that were ever set; for a user, those in the currencies of the user's wallets.
--
-- Returns {code, now, '', [limit]}, {rule:currency} for an unreadable one; 'bounds' if the clock is outside `periods`.

local own_currencies = {}
if user_id ~= '' then
    for _, id in ipairs(wallets_of(user_id)) do
        local is_read, currency = pcall(fields, 'wallet', id, 'currency')
        own_currencies[is_read and currency] = true
    end
end

local names = redis.call('SMEMBERS', key('limits'))
table.sort(names, before)
local limits = {}
for _, name in ipairs(names) do
    local rule, currency = string.match(name, '^([^:]+):(.+)$')
    if user_id == '' or own_currencies[currency] then
        local is_read, counter = pcall(read_counter, rule_named(rule), currency, user_id, periods)
        if not is_read then
            limits[#limits + 1] = {name}
        elseif not counter then
            return {'bounds', at, ''}
        elseif counter.limit or user_id == '' then
            local is_pending = is_partitioned and redis.call('ZSCORE', key('agenda'), 'lim_' .. name)
            if is_pending then
                counter.limit = fields('quota', name, 'limit') -- this partition may not have it yet either
            end
            local shown = show_limit(counter)
            if is_pending then
                shown[#shown + 1], shown[#shown + 2] = 'pending', '1'
            end
            limits[#limits + 1] = shown
        end
    end
end
return {'ok', at, '', limits}
