-- cancel_payment(keys=[journal], args=[operation, fingerprint, kept_ms, owner, token, keep_it, payment, user])
--
-- Give up a payment that still waits for its code. Open to a blocked user: it moves no money.
--
-- Returns {code, now, token, view, details}
--@include base
--@include operation
--@include lease
--@include payment

local operation, fingerprint, kept_ms, owner, token, keep_it, id, user_id = unpack(ARGV, 1, 8)

local answered = earlier(operation, fingerprint)
if answered then
    return answered
end
local payment = read('payment', id)
local invoice = payment and read('invoice', payment.invoice)
if not payment or invoice.user ~= user_id then
    return {'payment_not_found', int(now), ''}
end
if payment.operation == operation then
    return {'ok', int(now), '', view(id, payment, invoice), {}}
end
local wallet = read('wallet', payment.wallet)
local held = lease_refusal(wallet, owner, token)
if held then
    return {held, int(now), ''}
end

local function answer(code)
    return {code, int(now), close_lease(payment.wallet, wallet, owner, keep_it), view(id, payment, invoice), {}}
end

if payment.status ~= 'requires_confirmation' or is_expired(payment) then
    return answer('payment_not_cancelable')
end
end_unconfirmed(id, payment, 'canceled', 'by', 'user')
redis.call('HSET', key('payment', id), 'operation', operation, 'outcome', 'ok')
return keep(operation, fingerprint, kept_ms, answer('ok'))
