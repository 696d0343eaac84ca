-- list_messages(status, user_id, cursor, limit) no-writes
--
-- List messages, newest first: reads the journal backwards from the relay's cursor. '' for no filter.
--
-- cursor  the last journal entry of the page before, '' for the first page
--
-- One call reads a bounded batch, so a page can be short while there is a next one.
--
-- Returns {code, now, '', [{message, fields, {email, phone}}], next cursor, [journal entry of each]}; an unreadable
-- message has its kind only and counts as dead

local BATCH, BATCHES = 200, 5

local function read_message(entry)
    local message = read('message', entry[1])
    if message then
        return {entry[1], flat(message), {fields('user', message.user, 'email', 'phone')}}, message.user, message.status
    end
    local built = delivered(entry)
    return built, built and built[2][2], 'sent'
end

cursor = string.match(cursor, '^[^.]*') -- one of a list over all partitions names its partition, too
local messages, entries_of = {}, {}
local relayed = fields('relay', nil, 'cursor') or '0-0'
for _ = 1, BATCHES do
    local from = cursor == '' and relayed or '(' .. cursor
    local entries = redis.call('XREVRANGE', journal, from, '-', 'COUNT', BATCH)
    for _, entry in ipairs(entries) do
        cursor = entry[1]
        -- The record of a message with many attempts outlives the 72 hours of its entry.
        if tonumber(string.match(cursor, '^%d+')) <= now - 2 * MESSAGE_KEPT_MS then
            return {'ok', at, '', messages, '', entries_of}
        end
        local is_read, message, user, state = pcall(read_message, entry)
        if not is_read then
            local kind = MESSAGE_KINDS[entry[2][1]]
            message, user, state = kind and {cursor, {'kind', kind}, {'', ''}}, '', 'dead'
        end
        if message and state ~= 'stale' and (status == '' or state == status)
            and (user_id == '' or user == user_id) then
            messages[#messages + 1], entries_of[#entries_of + 1] = message, cursor
        end
        if #messages == tonumber(limit) then
            return {'ok', at, '', messages, cursor, entries_of}
        end
    end
    if #entries < BATCH then
        return {'ok', at, '', messages, '', entries_of}
    end
end
return {'ok', at, '', messages, cursor, entries_of}
