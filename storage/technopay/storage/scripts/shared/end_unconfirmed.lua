-- end_unconfirmed: how a payment ends before it takes money.

local DEAD_PAYMENT_KEPT_MS = 30 * 24 * 3600 * 1000

-- End a payment that waits for its code. Another payment can pay the invoice then.
local function end_unconfirmed(id, invoice_id, status, ...)
    local version = next_version(fields('payment', id, 'version'))
    fields('invoice', invoice_id, 'payment') -- it has to be readable before anything is written
    redis.call('ZADD', key('agenda'), int(now + DEAD_PAYMENT_KEPT_MS), id)
    redis.call('HSET', key('payment', id), 'status', status, 'version', version)
    redis.call('HDEL', key('invoice', invoice_id), 'payment')
    append('payment.' .. status, id, 'version', version, ...)
end

-- End a payment because of a newer one, or because its invoice is withdrawn.
local function end_earlier(id, invoice_id, by)
    if shown_status(id, 'requires_confirmation') == 'expired' then
        end_unconfirmed(id, invoice_id, 'expired')
    else
        end_unconfirmed(id, invoice_id, 'canceled', 'by', by)
    end
end
