-- list_payments(keys=[journal], args=[cursor, count, status, user])
--
-- List payments of all users, newest first, by walking the journal back; '' for a filter not wanted.
--
-- cursor  the journal entry after which to go on, '' for the newest
-- status  as it is shown: an unconfirmed payment past its expiry is 'expired'
--
-- One call reads a bounded stretch, so a page can be short while there is a next one.
--
-- Returns {code, now, '', [view], next cursor}
--@include base
--@include payment

local STRETCH, STRETCHES = 200, 10
local cursor, count, status, user_id = unpack(ARGV, 1, 4)

local function matches(payment, invoice)
    local shown = payment.status
    if shown == 'requires_confirmation' and is_expired(payment) then
        shown = 'expired'
    end
    return (status == '' or shown == status) and (user_id == '' or invoice.user == user_id)
end

local views = {}
for _ = 1, STRETCHES do
    local from = cursor == '' and '+' or '(' .. cursor
    local entries = redis.call('XREVRANGE', KEYS[1], from, '-', 'COUNT', STRETCH)
    for _, entry in ipairs(entries) do
        cursor = entry[1]
        if entry[2][2] == 'payment.started' then
            local id = entry[2][6]
            local payment = read('payment', id)
            local invoice = payment and read('invoice', payment.invoice)
            if payment and matches(payment, invoice) then
                views[#views + 1] = view(id, payment, invoice)
            end
        end
        if #views == tonumber(count) then
            return {'ok', int(now), '', views, cursor}
        end
    end
    if #entries < STRETCH then
        return {'ok', int(now), '', views, ''}
    end
end
return {'ok', int(now), '', views, cursor}
