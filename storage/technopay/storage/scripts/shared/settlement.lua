-- settlement: how a debit is settled, and how the work on a payment ends.
--
-- Only the claim of the payment counts, not the lease, nor the status of the wallet or the user. `payment` needs
-- wallet, amount, claim, set_aside, status and version.

-- Check every other record that a settlement writes to, before the first write.
local function require_debit(payment)
    require_integer(payment.amount)
    require_integer(fields('wallet', payment.wallet, 'ledger'))
    if payment.set_aside then
        redis.call('ZCARD', key('set_aside'))
    end
end

-- The claim grows, so that the writes of its former holder are refused.
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
