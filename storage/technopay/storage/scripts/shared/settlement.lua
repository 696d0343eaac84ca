-- settlement: the two ways in which a debit ends, and the credit of a refund.
--
-- They look at the payment's claim only: neither a lease nor the status of wallet or user stands in their way.

-- A claim only grows, so that a holder that slept finds nothing that it could still write down.
local function leave_agenda(id, payment)
    redis.call('ZREM', key('agenda'), id)
    redis.call('HINCRBY', key('payment', id), 'claim', 1)
    if payment.set_aside then
        redis.call('ZREM', key('set_aside'), id)
        redis.call('HDEL', key('payment', id), 'set_aside')
    end
end

local function credit(type, id, payment, invoice, ...)
    local wallet_key = key('wallet', payment.wallet)
    local balance = redis.call('HINCRBY', wallet_key, 'balance', invoice.amount)
    redis.call('HINCRBY', wallet_key, 'in_flight', '-' .. invoice.amount)
    local entry = append(type, 'payment', id, 'wallet', payment.wallet, 'amount', invoice.amount,
        'balance', int(balance), ...)
    redis.call('RPUSH', key('entries', payment.wallet), entry)
end

local function settle(id, payment, invoice)
    redis.call('HSET', key('payment', id), 'status', 'succeeded', 'settled_at', int(now))
    redis.call('HSET', key('invoice', payment.invoice), 'status', 'paid', 'paid_at', payment.paid_at)
    redis.call('HINCRBY', key('wallet', payment.wallet), 'in_flight', '-' .. invoice.amount)
    leave_agenda(id, payment)
    append('payment.succeeded', 'payment', id)
end

local function give_back(id, payment, invoice)
    redis.call('HSET', key('payment', id), 'status', 'failed', 'failure', 'settlement_failed',
        'refunded_at', int(now), 'refund_reason', 'settlement_failed')
    redis.call('HSET', key('invoice', payment.invoice), 'status', 'open')
    redis.call('HDEL', key('invoice', payment.invoice), 'payment')
    -- Back to the day that was charged, which need not be today.
    redis.call('HINCRBY', key('limit', invoice.currency), payment.day, '-' .. invoice.amount)
    leave_agenda(id, payment)
    credit('payment.failed', id, payment, invoice, 'reason', 'settlement_failed', 'day', payment.day)
end

local function refund(id, payment, invoice)
    redis.call('HSET', key('payment', id), 'status', 'refunded', 'refunded_at', int(now),
        'refund_reason', 'requested_by_operator')
    redis.call('HSET', key('invoice', payment.invoice), 'refunded', invoice.amount)
    leave_agenda(id, payment)
    credit('payment.refunded', id, payment, invoice)
end
