-- slices: how a limit for all users holds on a store of several partitions.
--
-- The home of a limit grants slices of it to the partitions; a debit needs room in the slice of its own partition. All
-- totals only grow, for each period: `granted` to a partition, and `returned` by it. Both sides keep them and take the
-- larger value of a message, so a message can be lost, repeated, late or out of order:
--
--     used <= granted - returned in each partition, and the sum of granted - returned in the home <= limit.
--
-- The hash `limit:…` of a partition has for each period <period> (used), <period>:granted, <period>:returned and
-- <period>:others (used in other partitions, as last reported); `mode` (free, limited), `epoch` and `limit` as last sent by
-- the home; `short`, its last refusal: until when it counts, what was left, and the period.

-- How long a refusal of the home counts.
local SHORT_MS = 250

-- The slice of a partition as a counter, see read_counter.
local function read_slice(rule, currency, period, ends_at)
    local name = rule.name .. ':' .. currency
    local limit, mode, epoch, short, used, granted, returned, others = fields('limit', name,
        'limit', 'mode', 'epoch', 'short', period, period .. ':granted', period .. ':returned', period .. ':others')
    return {
        rule = rule, key = key('limit', name), currency = currency, period = period, resets_at = ends_at,
        limit = limit or nil, used = used or '0',
        slice = {
            mode = mode, epoch = epoch or '0', short = short, granted = granted or '0', returned = returned or '0',
            others = others or '0',
        },
    }
end

-- The refusal of an amount that the slice has no room for: 'limit_short' if the home has to be asked; else nil.
local function slice_refusal(counter, amount)
    local slice = counter.slice
    if slice.mode == 'free' then
        return nil
    elseif not slice.mode then
        return 'limit_short'
    elseif tonumber(amount) <= slice.granted - slice.returned - counter.used then
        return nil
    end
    local short_until, left, period = string.match(slice.short or '', '^(%d+) (%-?%d+) (.+)$')
    local remaining_ms = tonumber(short_until or '0') - now
    if period == counter.period and remaining_ms > 0 and remaining_ms <= SHORT_MS
        and tonumber(amount) > tonumber(left) then
        return counter.rule.refusal
    end
    return 'limit_short'
end

-- The totals for the home of a limit, as details of a reply.
local function slice_request(counter, amount)
    local slice = counter.slice
    return {
        'slice_rule', counter.rule.name, 'slice_currency', counter.currency, 'slice_period', counter.period,
        'slice_granted', slice.granted, 'slice_returned', slice.returned, 'slice_used', counter.used,
        'slice_amount', amount,
    }
end

-- An amount that is given back returns to the home of the limit, which may grant it to another partition.
local function return_slice(rule, currency, period, amount)
    local counter = read_slice(rule, currency, period)
    counter.slice.returned = int(redis.call('HINCRBY', counter.key, period .. ':returned', amount))
    redis.call('HDEL', counter.key, 'short')
    return slice_request(counter, '0')
end

-- Add the slice of a debit to its journal entry; return the length of the entry.
local function add_slice(entry, counter)
    local n, name, slice = #entry, counter.rule.name, counter.slice
    if slice.mode == 'limited' then
        entry[n + 1], entry[n + 2], entry[n + 3], entry[n + 4] =
            name .. '_granted', slice.granted, name .. '_returned', slice.returned
    end
    return #entry
end

-- Note a limit as its home sent it: an older epoch changes nothing. A refusal under an earlier limit does not count any
-- more.
local function note_limit(name, mode, epoch, limit)
    local known = tonumber(fields('limit', name, 'epoch') or '0')
    if tonumber(epoch) > known then
        redis.call('HDEL', key('limit', name), 'short')
    end
    if tonumber(epoch) >= known then
        redis.call('HSET', key('limit', name), 'mode', mode, 'epoch', epoch)
        if mode == 'limited' then
            redis.call('HSET', key('limit', name), 'limit', limit)
        else
            redis.call('HDEL', key('limit', name), 'limit')
        end
    end
end

local function larger(one, other)
    return int(math.max(tonumber(one or '0'), tonumber(other or '0')))
end
