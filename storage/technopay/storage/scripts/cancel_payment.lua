-- cancel_payment(keys=[journal], args=[operation, fingerprint, kept_ms, owner, token, keep_it, payment, user])
--
-- Give up a payment that still waits for its code. Open to a blocked user: it moves no money.
--
-- Returns {code, now, token, view, details}
--@include base
--@include operation
--@include lease
--@include pack
--@include payment
--@include challenge
--@include unconfirmed
--@include record

local operation, fingerprint, kept_ms, owner, token, keep_it, id, user_id = unpack(ARGV, 1, 8)

local answered = earlier(operation, fingerprint)
if answered then
    return answered
end
local payment = read('payment', id)
if not payment or payment.user ~= user_id then
    return {'payment_not_found', at, ''}
end
if payment.last_call == operation then
    return {'ok', at, '', view(id), {}}
end
local wallet = read('wallet', payment.wallet)
fields('user', user_id, 'status') -- what is shown has to be readable before anything is written
local held = lease_refusal(wallet, owner, token)
if held then
    return {held, at, ''}
end

local function answer(code)
    return {code, at, close_lease(payment.wallet, wallet, owner, keep_it), view(id), {}}
end

if payment.status ~= 'requires_confirmation' or is_expired(payment.challenge) then
    return answer('payment_not_cancelable')
end
end_unconfirmed(id, payment.invoice, 'canceled', 'by', 'user')
redis.call('HSET', key('payment', id), 'last_call', operation)
return keep(operation, fingerprint, kept_ms, answer('ok'))
