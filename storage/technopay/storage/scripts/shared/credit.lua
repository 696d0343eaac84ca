-- credit: how a debit is given back, and how a refund ends.
--
-- As in shared/settlement.lua, only the claim of the payment counts. `payment` needs invoice, user, currency and
-- LIMIT_FIELDS, too.

-- Check every record that a credit writes to, before the first write.
local function require_writable(payment, credits)
    require_debit(payment)
    if credits then
        require_integer(fields('wallet', payment.wallet, 'balance'))
        redis.call('LLEN', key('entries', payment.wallet))
    end
    if credits and payment.status == 'processing' then
        fields('invoice', payment.invoice, 'payment')
        for _, counter in ipairs(charged_counters(payment)) do
            require_integer(redis.call('HGET', counter.key, counter.period) or '0')
        end
    end
end

local function credit(type, id, payment, version, ...)
    local balance = redis.call('HINCRBY', key('wallet', payment.wallet), 'balance', payment.amount)
    local entry = append(type, id, 'version', version, 'wallet', payment.wallet, 'amount', payment.amount,
        'balance', int(balance), ...)
    redis.call('RPUSH', key('entries', payment.wallet), entry)
end

local function give_back(id, payment)
    local version = next_version(payment.version)
    end_payment(id, payment, 'failed', 'failure', 'settlement_failed', 'refunded_at', at,
        'refund_reason', 'settlement_failed', 'version', version)
    redis.call('HDEL', key('invoice', payment.invoice), 'payment')
    local periods = {}
    for _, counter in ipairs(charged_counters(payment)) do
        redis.call('HINCRBY', counter.key, counter.period, '-' .. payment.amount)
        periods[#periods + 1], periods[#periods + 2] = counter.rule.period_field, counter.period
    end
    credit('payment.failed', id, payment, version, 'reason', 'settlement_failed', unpack(periods))
end

local function refund(id, payment)
    local version = next_version(payment.version)
    end_payment(id, payment, 'refunded', 'refunded_at', at, 'refund_reason', 'requested_by_operator',
        'version', version)
    credit('payment.refunded', id, payment, version)
end

-- The money stays settled; another refund can be tried.
local function fail_refund(id, payment)
    local version = next_version(payment.version)
    end_payment(id, payment, 'succeeded', 'version', version)
    redis.call('HINCRBY', key('wallet', payment.wallet), 'ledger', '-' .. payment.amount)
    append('payment.refund_failed', id, 'version', version)
    return version
end
