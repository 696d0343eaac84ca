-- counters: the counters that a debit touches, by the rules of the engine (LIMIT_RULES).
--
-- One hash has the limit of a rule (`limit`) and the used amount of each period; with the scope `user`, each user's
-- counters are a hash of their own. `periods` are eight values per window: its name, the start of its earliest period,
-- then name and end of three periods (milliseconds in 13 digits). The caller computes them, because only it knows the
-- business time zone; the script chooses by its own clock.
--
-- On a store of several partitions a rule for all users has slices, see shared/slices.lua.

-- Name and end of the current period of a window; nil if `periods` lack it.
local function period_of(window, periods)
    for first = 1, #periods, 8 do
        if periods[first] == window and at >= periods[first + 1] then
            for i = first + 2, first + 6, 2 do
                if at < periods[i + 1] then
                    return periods[i], periods[i + 1]
                end
            end
        end
    end
    return nil
end

-- The keys of a rule's limit and of the counters of a user.
local function limit_keys(rule, currency, user_id)
    local shared = key('limit', rule.name .. ':' .. currency)
    return shared, rule.scope == 'user' and shared .. ':' .. user_id or shared
end

-- The counter of a rule in its current period, with limit and used amount; nil outside the periods.
local function read_counter(rule, currency, user_id, periods)
    local period, ends_at = period_of(rule.window, periods)
    if not period then
        return nil
    end
    local shared, own = limit_keys(rule, currency, user_id)
    local limit, used
    if is_partitioned and own == shared then
        return read_slice(rule, currency, period, ends_at)
    elseif own == shared then
        limit, used = unpack(redis.call('HMGET', shared, 'limit', period))
    else
        limit, used = redis.call('HGET', shared, 'limit'), redis.call('HGET', own, period)
    end
    return {
        rule = rule, key = own, currency = currency, period = period, resets_at = ends_at, limit = limit or nil,
        used = used or '0',
    }
end

-- The counters that a debit of a user touches, in the order of the rules; nil outside the periods.
local function read_counters(currency, user_id, periods)
    local counters = {}
    for i, rule in ipairs(LIMIT_RULES) do
        counters[i] = read_counter(rule, currency, user_id, periods)
    end
    return #counters == #LIMIT_RULES and counters or nil
end

-- The refusal and the counter that has no room for an amount; or nil. Every sum has to stay an exact integer.
local function limit_refusal(counters, amount)
    for _, counter in ipairs(counters) do
        local refusal = counter.slice and slice_refusal(counter, amount)
        if refusal then
            return refusal, counter
        elseif counter.limit and not counter.slice and tonumber(amount) > counter.limit - counter.used then
            return counter.rule.refusal, counter
        elseif tonumber(amount) > MAX_AMOUNT - counter.used then
            return 'balance_too_large', counter
        end
    end
    return nil
end

-- What is known of the used amount, in all partitions.
local function shown_used(counter)
    return counter.slice and int(counter.used + counter.slice.others) or counter.used
end

-- Add the counters to the fields of a payment: at its start, and at its debit.
local function add_counters(list, counters)
    local n = #list
    for _, counter in ipairs(counters) do
        local rule = counter.rule
        list[n + 1], list[n + 2] = rule.period_field, counter.period
        n = n + 2
        if counter.limit then
            list[n + 1], list[n + 2], list[n + 3], list[n + 4] =
                rule.limit_field, counter.limit, rule.used_field, shown_used(counter)
            n = n + 4
        end
    end
    return list
end

-- Count a debit, and add the counters to its journal entry.
local function count_debit(counters, amount, entry)
    local n = #entry
    for _, counter in ipairs(counters) do
        local rule = counter.rule
        counter.used = int(redis.call('HINCRBY', counter.key, counter.period, amount))
        entry[n + 1], entry[n + 2], entry[n + 3], entry[n + 4] =
            rule.period_field, counter.period, rule.used_field, counter.used
        n = n + 4
        if counter.slice then
            n = add_slice(entry, counter)
        elseif counter.limit then
            entry[n + 1], entry[n + 2] = rule.limit_field, counter.limit
            n = n + 2
        end
    end
    return entry
end

-- {rule, key, period} of each counter that a debit was charged to; its period need not be the current one.
local function charged_counters(payment)
    local charged = {}
    for _, rule in ipairs(LIMIT_RULES) do
        if payment[rule.period_field] then
            local _, own = limit_keys(rule, payment.currency, payment.user)
            charged[#charged + 1] = {rule = rule, key = own, period = payment[rule.period_field]}
        end
    end
    return charged
end

local function rule_named(name)
    for _, rule in ipairs(LIMIT_RULES) do
        if rule.name == name then
            return rule
        end
    end
    return nil
end

-- A limit as it is shown, by name; `limit` is missing if it was lifted.
local function show_limit(counter)
    local shown = {
        'rule', counter.rule.name, 'window', counter.rule.window, 'currency', counter.currency,
        'used', shown_used(counter), 'resets_at', counter.resets_at,
    }
    if counter.limit then
        shown[#shown + 1], shown[#shown + 2] = 'limit', counter.limit
    end
    return shown
end

local function limit_details(counter)
    return counter.limit and show_limit(counter) or {} -- it was lifted since
end
