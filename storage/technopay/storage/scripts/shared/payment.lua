-- payment: how a payment is shown, and how one ends that never took money.

local CLAIM_MS = 15000
local DEAD_PAYMENT_KEPT_MS = 30 * 24 * 3600 * 1000

-- {id, payment, {user, amount, currency, merchant}, {email, phone}}
local function view(id, payment, invoice, user)
    user = user or read('user', invoice.user)
    return {
        id, flat(payment),
        {invoice.user, invoice.amount, invoice.currency, invoice.merchant},
        {user.email or '', user.phone or ''},
    }
end

-- End a payment that still waits for its code. The invoice can be paid by another one.
local function end_unconfirmed(id, payment, status, ...)
    payment.status = status
    redis.call('HSET', key('payment', id), 'status', status)
    redis.call('HDEL', key('invoice', payment.invoice), 'payment')
    redis.call('ZADD', key('agenda'), int(now + DEAD_PAYMENT_KEPT_MS), id)
    append('payment.' .. status, 'payment', id, ...)
end

-- A payment past its confirmation's expiry is expired, whoever looks first; the agenda may come later.
local function is_expired(payment)
    return now >= tonumber(payment.expires_at)
end

local function end_earlier(id)
    local payment = read('payment', id)
    if is_expired(payment) then
        end_unconfirmed(id, payment, 'expired')
    else
        end_unconfirmed(id, payment, 'canceled', 'by', 'restart')
    end
end
