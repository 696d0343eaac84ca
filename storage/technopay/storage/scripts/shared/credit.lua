-- credit: how money goes back into a wallet: a debit that is given back, or a refund.
--
-- As in shared/settlement.lua, only the claim of the payment counts. `payment` needs invoice, user, currency and
-- LIMIT_FIELDS, too.
--
-- refund, refund_amount  the last refund that was begun: its id and its amount

-- Whether the verdict was recorded before.
local function is_recorded(verdict, payment)
    if verdict == 'reversed' then
        return (payment.status == 'refunded' or payment.status == 'succeeded') and has_ended(payment, 'done')
    elseif verdict == 'refund_failed' then
        return payment.status == 'succeeded' and has_ended(payment, 'failed')
    end
    return payment.status == (verdict == 'settled' and 'succeeded' or 'failed')
end

-- Check every record that a credit writes to, before the first write.
local function require_writable(payment, credits)
    require_debit(payment)
    if payment.status == 'refunding' then
        require_integer(payment.refund_amount)
        read_refunds(payment)
    end
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

local function credit(type, id, payment, amount, version, ...)
    local balance = redis.call('HINCRBY', key('wallet', payment.wallet), 'balance', amount)
    local entry = append(type, id, 'version', version, 'wallet', payment.wallet, 'amount', amount,
        'balance', int(balance), ...)
    redis.call('RPUSH', key('entries', payment.wallet), entry)
end

-- Give a debit back; return the details for the home of the limit.
local function give_back(id, payment)
    local version = next_version(payment.version)
    -- It has no reversal; its id follows from that of the payment.
    local refunds = list_refunds({new_refund('ref_' .. string.sub(id, 5), payment.amount, 'done', '', '')})
    end_payment(id, payment, 'failed', 'failure', 'settlement_failed', 'refunds', refunds, 'version', version)
    redis.call('HDEL', key('invoice', payment.invoice), 'payment')
    local periods, returned = {}, {}
    for _, counter in ipairs(charged_counters(payment)) do
        redis.call('HINCRBY', counter.key, counter.period, '-' .. payment.amount)
        if is_partitioned and counter.rule.scope == 'all_users'
            and redis.call('HGET', counter.key, 'mode') == 'limited' then
            returned = return_slice(counter.rule, payment.currency, counter.period, payment.amount)
        end
        periods[#periods + 1], periods[#periods + 2] = counter.rule.period_field, counter.period
    end
    credit('payment.failed', id, payment, payment.amount, version, 'reason', 'settlement_failed', unpack(periods))
    return returned
end

local function refund(id, payment)
    local version, refunds = next_version(payment.version), read_refunds(payment)
    local note, by = unpack(cjson.decode(given(end_refund(refunds, payment, 'done').more) or '["",""]'))
    local is_whole = refunded_amount(refunds) == tonumber(payment.amount)
    end_payment(id, payment, is_whole and 'refunded' or 'succeeded', 'refunds', list_refunds(refunds),
        'version', version)
    local more = {'refund', payment.refund}
    add_given(more, 'note', note)
    add_given(more, 'by', by)
    credit(is_whole and 'payment.refunded' or 'payment.partially_refunded', id, payment, payment.refund_amount,
        version, unpack(more))
end

-- The money stays settled; another refund can be tried.
local function fail_refund(id, payment)
    local version, refunds = next_version(payment.version), read_refunds(payment)
    end_refund(refunds, payment, 'failed')
    end_payment(id, payment, 'succeeded', 'refunds', list_refunds(refunds), 'version', version)
    redis.call('HINCRBY', key('wallet', payment.wallet), 'ledger', '-' .. payment.refund_amount)
    append('payment.refund_failed', id, 'version', version, 'refund', payment.refund)
    return version
end
