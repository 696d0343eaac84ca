-- payment: how a payment is shown, and how its changes are counted.
--
-- A payment carries its own terms (user, amount, currency, merchant), which are what was confirmed and never
-- change: nobody has to read its invoice to work on it.

-- The version of the next change of a payment: every entry of the journal about it is one, the first is 1. What goes
-- straight (started, processing, succeeded) says no version, neither in its record nor in its entries; from the first
-- change on that is another one, both say it. Read it before the status is written.
local function next_version(status, version)
    local STRAIGHT = {requires_confirmation = 1, processing = 2, succeeded = 3}
    return int((version or STRAIGHT[status]) + 1)
end

-- A payment packed: id, e-mail, phone, then values in the order of VIEW. What is empty can be left out from `paid_at`
-- on, or from `failure` on.
local function pack_view(id, email, phone, ...)
    email, phone = email or '', phone or ''
    return pack({id, email, phone, ...}, email .. phone .. select(6, ...))
end

-- A payment that exists, as it is now.
local function view(id)
    local VIEW = {
        'invoice', 'wallet', 'user', 'amount', 'currency', 'merchant', 'status', 'created_at', 'limit', 'challenge',
        'paid_at', 'balance', 'settled_at', 'failure', 'refunded_at', 'refund_reason', 'set_aside',
        'resolution', 'resolution_note', 'resolution_by', 'resolution_at',
    }
    local values = redis.call('HMGET', key('payment', id), unpack(VIEW))
    for i, value in ipairs(values) do
        values[i] = value or ''
    end
    local challenge, email, phone = values[10], '', ''
    if challenge ~= '' then
        email, phone = fields('user', values[3], 'email', 'phone')
    end
    values = {id, email or '', phone or '', unpack(values)}
    return pack(values, table.concat(values))
end
