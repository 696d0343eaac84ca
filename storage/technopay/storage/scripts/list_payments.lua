-- list_payments(keys=[journal], args=[cursor, count, status, user])
--
-- List payments of all users, newest first, by walking the journal back; '' for a filter not wanted.
--
-- cursor  the journal entry after which to go on, '' for the newest
-- status  as it is shown: an unconfirmed payment past its expiry is 'expired'
--
-- One call reads a bounded stretch, so a page can be short while there is a next one.
--
-- Returns {code, now, '', [view], next cursor}, with {payment} for what cannot be read
--@include base
--@include pack
--@include payment
--@include challenge

local STRETCH, STRETCHES = 200, 10
local cursor, count, status, user_id = unpack(ARGV, 1, 4)

-- The view of a payment that matches, else false.
local function matching(id)
    local user, state, challenge = fields('payment', id, 'user', 'status', 'challenge')
    if state == 'requires_confirmation' and is_expired(challenge) then
        state = 'expired'
    end
    return user and (status == '' or state == status) and (user_id == '' or user == user_id) and view(id)
end

local views = {}
for _ = 1, STRETCHES do
    local from = cursor == '' and '+' or '(' .. cursor
    local entries = redis.call('XREVRANGE', KEYS[1], from, '-', 'COUNT', STRETCH)
    for _, entry in ipairs(entries) do
        cursor = entry[1]
        if entry[2][1] == 'payment.started' then
            local id = entry[2][2]
            local is_read, found = pcall(matching, id)
            views[#views + 1] = not is_read and {id} or found or nil
        end
        if #views == tonumber(count) then
            return {'ok', at, '', views, cursor}
        end
    end
    if #entries < STRETCH then
        return {'ok', at, '', views, ''}
    end
end
return {'ok', at, '', views, cursor}
