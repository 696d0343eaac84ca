-- list_messages(keys=[journal], args=[cursor, count, status, user])
--
-- List messages, newest first; '' for a filter not wanted. One that was delivered at once has no record
-- of its own. One call reads a bounded stretch, so a page can be short while there is a next one.
--
-- Returns {code, now, '', [{message, fields, {email, phone}}], next cursor}
--@include base

local STRETCH, STRETCHES = 200, 10
local MESSAGE_KEPT_MS = 72 * 3600 * 1000
local cursor, count, status, user_id = unpack(ARGV, 1, 4)

local function fields_of(entry)
    local message = read('message', entry[1])
    if message then
        return message
    end
    local fields = {status = 'sent', attempts = '1', last_error = ''}
    for i = 1, #entry[2], 2 do
        fields[entry[2][i]] = entry[2][i + 1]
    end
    return fields
end

local messages = {}
for _ = 1, STRETCHES do
    local from = cursor == '' and '+' or '(' .. cursor
    local entries = redis.call('XREVRANGE', key('messages'), from, '-', 'COUNT', STRETCH)
    for _, entry in ipairs(entries) do
        cursor = entry[1]
        local message = fields_of(entry)
        -- The stream is cut in blocks, so it can hold more than is kept.
        if tonumber(message.at) > now - MESSAGE_KEPT_MS and message.status ~= 'stale' and (status == '' or message.status == status)
            and (user_id == '' or message.user == user_id) then
            local user = read('user', message.user) or {}
            messages[#messages + 1] = {cursor, flat(message), {user.email or '', user.phone or ''}}
        end
        if #messages == tonumber(count) then
            return {'ok', int(now), '', messages, cursor}
        end
    end
    if #entries < STRETCH then
        return {'ok', int(now), '', messages, ''}
    end
end
return {'ok', int(now), '', messages, cursor}
