-- settlement: how a debit is settled, and how a payment's work ends.
--
-- It looks at the payment's claim only: neither a lease nor the status of wallet or user stands in its way.
-- `payment` has to have wallet, amount, claim, set_aside, status and version.

-- What is written to besides the payment has to be as it should be, before anything is written.
local function require_debit(payment)
    require_integer(payment.amount)
    require_integer(fields('wallet', payment.wallet, 'ledger'))
    if payment.set_aside then
        redis.call('ZCARD', key('set_aside'))
    end
end

-- A claim only grows, so that a holder that slept finds nothing that it could still write down.
local function end_payment(id, payment, status, ...)
    redis.call('ZREM', key('agenda'), id)
    redis.call('HSET', key('payment', id), 'status', status, 'claim', int(payment.claim + 1), ...)
    if payment.set_aside then
        redis.call('ZREM', key('set_aside'), id)
        redis.call('HDEL', key('payment', id), 'set_aside')
    end
end

local function settle(id, payment)
    local version = next_version(payment.version)
    end_payment(id, payment, 'succeeded', 'settled_at', at, 'version', version)
    redis.call('HINCRBY', key('wallet', payment.wallet), 'ledger', '-' .. payment.amount)
    append('payment.succeeded', id, 'version', version)
end
