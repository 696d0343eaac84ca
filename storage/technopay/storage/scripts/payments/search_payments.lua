-- search_payments(status, user_id, set_aside, cursor, limit) no-writes
--
-- List payments of all users, newest first; '' for no filter.
--
-- status     as it is shown: an unconfirmed payment past its expiry is 'expired'
-- set_aside  '1' lists their index, see shared/page.lua; otherwise the journal is read backwards
-- cursor     the last payment or journal entry of the page before, '' for the first page
--
-- One call reads a bounded batch, so a page can be short while there is a next one.
--
-- Returns {code, now, '', [view], next cursor, [journal entry of each]}, {payment} for an unreadable one; no entries from
-- the index

local BATCH, BATCHES = 200, 10

-- The view of a payment that matches, else ''.
local function matching(id)
    local user, state, is_set_aside = fields('payment', id, 'user', 'status', 'set_aside')
    if user and (status == '' or shown_status(id, state) == status) and (user_id == '' or user == user_id)
        and (set_aside == '' or set_aside == (is_set_aside and '1' or '0')) then
        return view(id)
    end
    return ''
end

local views, entries_of = {}, {}
local function add(found, entry)
    if found ~= '' then
        views[#views + 1], entries_of[#entries_of + 1] = found, entry
    end
end

if set_aside == '1' then
    local listed, next_cursor = list(key('set_aside'), 'payment', cursor, limit, matching)
    for _, found in ipairs(listed) do
        add(found)
    end
    return {'ok', at, '', views, next_cursor, entries_of}
end
cursor = string.match(cursor, '^[^.]*') -- one of a list over all partitions names its partition, too
for _ = 1, BATCHES do
    local from = cursor == '' and '+' or '(' .. cursor
    local entries = redis.call('XREVRANGE', journal, from, '-', 'COUNT', BATCH)
    for _, entry in ipairs(entries) do
        cursor = entry[1]
        if entry[2][1] == 'payment.started' then
            add(read_each({entry[2][2]}, matching)[1], cursor)
        end
        if #views == tonumber(limit) then
            return {'ok', at, '', views, cursor, entries_of}
        end
    end
    if #entries < BATCH then
        return {'ok', at, '', views, '', entries_of}
    end
end
return {'ok', at, '', views, cursor, entries_of}
