-- list_deliveries(webhook_id, status, cursor, limit) no-writes
--
-- List the deliveries of a webhook, newest event first; '' for any status.
--
-- cursor  the last journal entry of the page before, '' for the first page
--
-- Returns {code, now, '', [{entry, fields}], next cursor, [entry of each]}

cursor = string.match(cursor, '^[^.]*') -- one of a list over all partitions names its partition, too
local from = cursor == '' and '+' or '(' .. index_name(cursor)
local members = {}
for _, each in ipairs(status == '' and DELIVERY_STATUSES or {status}) do
    for _, member in ipairs(redis.call('ZREVRANGEBYLEX', index_of(webhook_id, each), from, '-', 'LIMIT', 0, limit + 1)) do
        members[#members + 1] = member
    end
end
table.sort(members, function(one, other) return before(other, one) end)

local found, entries = {}, {}
for i = 1, math.min(#members, tonumber(limit)) do
    entries[i] = entry_of(members[i])
    found[i] = read_delivery(webhook_id, entries[i]) or {entries[i]}
end
return {'ok', at, '', found, #members > #entries and entries[#entries] or '', entries}
