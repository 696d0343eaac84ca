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

-- The last id of an entry that can leave: not younger than `keep_ms`, archived, relayed, and read for each of the webhooks.
local function trimmable_to(keep_ms, webhook_ids)
    local least = int(math.max(0, now - keep_ms)) .. '-0'
    least = earlier(fields('archive', nil, 'archived_to') or '0-0', least)
    least = earlier(fields('relay', nil, 'cursor') or '0-0', least)
    for _, webhook_id in ipairs(webhook_ids) do
        least = earlier(fields('webhook', webhook_id, 'cursor') or least, least)
    end
    return least
end
