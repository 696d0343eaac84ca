-- cancel_payment(operation_id, fingerprint, kept_ms, payment_id, user_id, owner, token, keep)
--
-- Give up a payment that still waits for its code. Open to a blocked user: it moves no money.
--
-- Returns {code, now, token, view, details}

local answered = earlier(operation_id, fingerprint)
if answered then
    return answered
end
local payment = read('payment', payment_id)
if not payment or payment.user ~= user_id then
    return {'payment_not_found', at, ''}
end
if payment.last_call == operation_id then
    return {'ok', at, '', view(payment_id), {}}
end
local wallet = read('wallet', payment.wallet)
fields('user', user_id, 'status') -- what is shown has to be readable before anything is written
local held = lease_refusal(wallet, owner, token)
if held then
    return {held, at, ''}
end

local function answer(code)
    return {code, at, close_lease(payment.wallet, wallet, owner, keep), view(payment_id), {}}
end

if shown_status(payment_id, payment.status) ~= 'requires_confirmation' then
    return answer('payment_not_cancelable')
end
end_unconfirmed(payment_id, payment.invoice, 'canceled', 'by', 'user')
redis.call('HSET', key('payment', payment_id), 'last_call', operation_id)
return remember(operation_id, fingerprint, kept_ms, answer('ok'))
