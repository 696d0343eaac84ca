-- confirm_payment(keys=[journal], args=[operation, owner, token, keep_it, payment, user, digest, days])
--
-- Judge every rule and the code again and, if all hold, take the money: all of it or nothing.
--
-- digest  evidence made from the answer; counting and comparing happen here, always
-- days    see shared/limit.lua
--
-- Returns {code, now, token, view, details}: 'ok' (details: the settlement's claim), 'replayed' when
-- the accepted code comes again, 'bounds' when the clock lies outside `days`.
--@include base
--@include lease
--@include payment
--@include limit

-- The claim of the call that took the money. A repeat that finds a later one leaves the work to its holder.
local FIRST_CLAIM = '1'
local operation, owner, token, keep_it, id, user_id, digest, days = unpack(ARGV, 1, 8)

local payment = read('payment', id)
local invoice = payment and read('invoice', payment.invoice)
if not payment or invoice.user ~= user_id then
    return {'payment_not_found', int(now), ''}
end
local wallet, user = read('wallet', payment.wallet), read('user', user_id)
local limit = read_limit(invoice.currency, days)
if not limit then
    return {'bounds', int(now), ''}
end

local function details_of(code)
    if code == 'ok' and payment.claim == FIRST_CLAIM then
        return {'claim', payment.claim}
    elseif code == 'confirmation_invalid' then
        return {'attempts_remaining', payment.attempts_remaining}
    elseif code == 'insufficient_funds' then
        return {'required', invoice.amount, 'available', wallet.balance}
    elseif code == 'daily_limit_exceeded' then
        return limit_details(limit)
    end
    return {}
end

if payment.operation == operation then
    return {payment.outcome, int(now), '', view(id, payment, invoice, user), details_of(payment.outcome)}
end
local held = lease_refusal(wallet, owner, token)
if held then
    return {held, int(now), ''}
end

local function answer(code)
    local closed = close_lease(payment.wallet, wallet, owner, keep_it)
    return {code, int(now), closed, view(id, payment, invoice, user), details_of(code)}
end

-- What happened is kept with the payment, so that a lost reply can be asked for again.
local function conclude(code, changes)
    changes.operation, changes.outcome = operation, code
    for name, value in pairs(changes) do
        payment[name] = value
    end
    redis.call('HSET', key('payment', id), unpack(flat(changes)))
    return answer(code)
end

local taken = payment.status == 'processing' or payment.status == 'succeeded'
    or payment.failure == 'settlement_failed'
if taken and payment.digest == digest then
    return answer('replayed')
elseif user.status ~= 'active' then
    return answer('user_blocked')
elseif wallet.status ~= 'active' then
    return answer('wallet_inactive')
elseif payment.status == 'expired' then
    return answer('confirmation_expired')
elseif payment.status ~= 'requires_confirmation' then
    return answer('payment_not_confirmable')
elseif is_expired(payment) then
    return answer('confirmation_expired')
elseif now >= tonumber(invoice.expires_at) then
    return answer('invoice_expired')
end

if payment.digest ~= digest then
    local remaining = int(tonumber(payment.attempts_remaining) - 1)
    if remaining == '0' then
        end_unconfirmed(id, payment, 'failed', 'reason', 'too_many_attempts')
        return conclude('confirmation_invalid', {attempts_remaining = remaining, failure = 'too_many_attempts'})
    end
    return conclude('confirmation_invalid', {attempts_remaining = remaining})
end

-- The right code refused for another reason burns nothing: the user may put it right and try again.
local refusal
if tonumber(invoice.amount) > tonumber(wallet.balance) then
    refusal = 'insufficient_funds'
elseif over_limit(limit, invoice.amount) then
    refusal = 'daily_limit_exceeded'
end
if refusal then
    append('payment.refused', 'payment', id, 'reason', refusal)
    return conclude(refusal, {})
end

local wallet_key = key('wallet', payment.wallet)
local balance = int(redis.call('HINCRBY', wallet_key, 'balance', '-' .. invoice.amount))
redis.call('HINCRBY', wallet_key, 'in_flight', invoice.amount)
local used = int(redis.call('HINCRBY', key('limit', invoice.currency), limit.day, invoice.amount))
local entry = append('payment.processing', 'payment', id, 'wallet', payment.wallet,
    'amount', '-' .. invoice.amount, 'balance', balance,
    'currency', invoice.currency, 'day', limit.day, 'used', used, 'limit', limit.limit or '')
redis.call('RPUSH', key('entries', payment.wallet), entry)
redis.call('HSET', key('invoice', payment.invoice), 'status', 'processing')
redis.call('ZADD', key('agenda'), int(now + CLAIM_MS), id)
redis.call('HDEL', key('payment', id), 'issue', 'expires_at', 'method', 'attempts_remaining', 'resends_remaining')
payment.issue, payment.expires_at, payment.method = nil, nil, nil
payment.attempts_remaining, payment.resends_remaining = nil, nil
local changes = {
    status = 'processing', paid_at = int(now), balance_after = balance, day = limit.day,
    claim = FIRST_CLAIM,
}
if limit.limit then
    changes.limit, changes.used, changes.resets_at = limit.limit, used, limit.resets_at
elseif payment.limit then
    redis.call('HDEL', key('payment', id), 'limit', 'used', 'resets_at')
    payment.limit, payment.used, payment.resets_at = nil, nil, nil
end
return conclude('ok', changes)
