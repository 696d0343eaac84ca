-- trimmable: up to which entry the journal of the partition can leave the store.
--
-- The hash `archive` has `trimmed_to`: entries up to it are read from the archive, where there are any left, too; and
-- `checkpoint`, the digest of the checkpoint there. Payments and invoices that ended in entries up to `dropped_to` left the
-- store, too.

-- The numbers of an entry's id, for comparisons.
local function place_of(entry_id)
    local ms, number = string.match(entry_id, '^(%d+)-(%d+)$')
    return tonumber(ms), tonumber(number)
end

local function is_after(one, other)
    local ms, number = place_of(one)
    local other_ms, other_number = place_of(other)
    return ms > other_ms or ms == other_ms and number > other_number
end

-- The id behind an entry, and the earlier one of two; '' is behind all.
local function following(entry_id)
    local ms, number = place_of(entry_id)
    return int(ms) .. '-' .. int(number + 1)
end

local function earlier(one, other)
    return (one == '' or is_after(one, other)) and other or one
end

-- The last id of an entry that nothing waits for: not younger than `keep_ms`, archived, relayed, and read for each of the
-- webhooks. '0-0' while work on the agenda is late by a day: then no engine runs, and messages may need their entries.
local LATE_MS = 24 * 3600 * 1000
local function trimmable_to(keep_ms, webhook_ids)
    local bounds = {int(math.max(0, now - keep_ms)) .. '-0', fields('archive', nil, 'archived_to') or '0-0',
        fields('relay', nil, 'cursor') or '0-0'}
    for _, webhook_id in ipairs(webhook_ids) do
        bounds[#bounds + 1] = fields('webhook', webhook_id, 'cursor') or nil
    end
    local due = redis.call('ZRANGE', key('agenda'), 0, 0, 'WITHSCORES')
    if due[2] and tonumber(due[2]) < now - LATE_MS then
        return '0-0'
    end
    local least = bounds[1]
    for _, bound in ipairs(bounds) do
        least = earlier(bound, least)
    end
    return least
end
