-- settlement: the two ways in which a debit ends, and those in which a refund does.
--
-- They look at the payment's claim only: neither a lease nor the status of wallet or user stands in their way.
-- `payment` has to have invoice, wallet, amount, currency, limit, claim, set_aside, status and version.

-- What is written to besides the payment has to be as it should be, before anything is written.
local function require_writable(payment, credits)
    require_integer(payment.amount)
    require_integer(fields('wallet', payment.wallet, 'ledger'))
    if payment.set_aside then
        redis.call('ZCARD', key('set_aside'))
    end
    if credits then
        require_integer(fields('wallet', payment.wallet, 'balance'))
        redis.call('LLEN', key('entries', payment.wallet))
    end
    if credits and payment.status == 'processing' then
        fields('invoice', payment.invoice, 'payment')
        require_integer(fields('limit', payment.currency, string.sub(payment.limit, 1, 10)) or '0')
    end
end

-- A claim only grows, so that a holder that slept finds nothing that it could still write down.
local function end_payment(id, payment, status, ...)
    -- This comes first: it needs no memory, and after a script's first write a server that has none refuses nothing.
    redis.call('ZREM', key('agenda'), id)
    redis.call('HSET', key('payment', id), 'status', status, 'claim', int(payment.claim + 1), ...)
    if payment.set_aside then
        redis.call('ZREM', key('set_aside'), id)
        redis.call('HDEL', key('payment', id), 'set_aside')
    end
end

local function credit(type, id, payment, version, ...)
    local balance = redis.call('HINCRBY', key('wallet', payment.wallet), 'balance', payment.amount)
    local entry = append(type, id, 'version', version, 'wallet', payment.wallet, 'amount', payment.amount,
        'balance', int(balance), ...)
    redis.call('RPUSH', key('entries', payment.wallet), entry)
end

local function settle(id, payment)
    local said = payment.version and {'version', next_version(payment.status, payment.version)} or {}
    end_payment(id, payment, 'succeeded', 'settled_at', at, unpack(said))
    redis.call('HINCRBY', key('wallet', payment.wallet), 'ledger', '-' .. payment.amount)
    append('payment.succeeded', id, unpack(said))
end

local function give_back(id, payment)
    local version = next_version(payment.status, payment.version)
    end_payment(id, payment, 'failed', 'failure', 'settlement_failed', 'refunded_at', at,
        'refund_reason', 'settlement_failed', 'version', version)
    redis.call('HDEL', key('invoice', payment.invoice), 'payment')
    -- Back to the day that was charged, which need not be today: its limit begins with it.
    local day = string.sub(payment.limit, 1, 10)
    redis.call('HINCRBY', key('limit', payment.currency), day, '-' .. payment.amount)
    credit('payment.failed', id, payment, version, 'reason', 'settlement_failed', 'day', day)
end

local function refund(id, payment)
    local version = next_version(payment.status, payment.version)
    end_payment(id, payment, 'refunded', 'refunded_at', at, 'refund_reason', 'requested_by_operator',
        'version', version)
    credit('payment.refunded', id, payment, version)
end

-- The money stays settled; another refund can be tried.
local function fail_refund(id, payment)
    local version = next_version(payment.status, payment.version)
    end_payment(id, payment, 'succeeded', 'version', version)
    redis.call('HINCRBY', key('wallet', payment.wallet), 'ledger', '-' .. payment.amount)
    append('payment.refund_failed', id, 'version', version)
    return version
end
