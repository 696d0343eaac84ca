-- cancel_payment(operation_id, fingerprint, kept_ms, payment_id, user_id, owner, token, keep) recorded
--
-- Cancel a payment that waits for its code. A blocked user can do this: it moves no money.
--
-- Returns {code, now, token, view, details}

local payment = read('payment', payment_id)
if not payment or payment.user ~= user_id then
    return {'payment_not_found', at, ''}
end
if payment.last_call == operation_id then
    return {'ok', at, '', view(payment_id), {}}
end
local wallet = read('wallet', payment.wallet)
fields('user', user_id, 'status') -- it has to be readable before anything is written
local refusal = lease_refusal(wallet, owner, token)
if refusal then
    return {refusal, at, ''}
end

local function reply(code)
    return {code, at, close_lease(payment.wallet, wallet, owner, keep), view(payment_id), {}}
end

if shown_status(payment_id, payment.status) ~= 'requires_confirmation' then
    return reply('payment_not_cancelable')
end
end_unconfirmed(payment_id, payment.invoice, 'canceled', 'by', 'user')
redis.call('HSET', key('payment', payment_id), 'last_call', operation_id)
return record_reply(operation_id, fingerprint, kept_ms, reply('ok'))
