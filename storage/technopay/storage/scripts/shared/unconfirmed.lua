-- unconfirmed: how a payment ends that never took money.

local DEAD_PAYMENT_KEPT_MS = 30 * 24 * 3600 * 1000

-- End a payment that still waits for its code. The invoice can be paid by another one.
local function end_unconfirmed(id, invoice_id, status, ...)
    local version = next_version(fields('payment', id, 'version'))
    fields('invoice', invoice_id, 'payment') -- it has to be readable before anything is written
    redis.call('ZADD', key('agenda'), int(now + DEAD_PAYMENT_KEPT_MS), id)
    redis.call('HSET', key('payment', id), 'status', status, 'version', version)
    redis.call('HDEL', key('invoice', invoice_id), 'payment')
    append('payment.' .. status, id, 'version', version, ...)
end
