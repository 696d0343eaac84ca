-- start_payment(keys=[journal], args=[operation, fingerprint, kept_ms, owner, token, keep_it, payment, user, wallet, invoice, method, digest, lifetime_ms, attempts, resends, days])
--
-- Begin to pay an invoice: a payment that waits for its confirmation. Nothing is deducted.
--
-- payment      id of the payment to make; if it exists, this call was made before
-- method       '', 'email' or 'sms'; '' takes the first that the user has
-- digest       what the right answer's evidence looks like, see the verifier
-- lifetime_ms  how long the code can be used; attempts, resends: how often
-- days         see shared/limit.lua
--
-- Returns {code, now, token, view, details}; 'bounds' when the clock lies outside `days`.
--@include base
--@include operation
--@include lease
--@include payment
--@include limit

local operation, fingerprint, kept_ms, owner, token, keep_it = unpack(ARGV, 1, 6)
local id, user_id, wallet_id, invoice_id, method, digest = unpack(ARGV, 7, 12)
local lifetime_ms, attempts, resends, days = unpack(ARGV, 13, 16)

local answered = earlier(operation, fingerprint)
if answered then
    return answered
end
local user, wallet, invoice = read('user', user_id), read('wallet', wallet_id), read('invoice', invoice_id)
local payment = read('payment', id)
if payment then
    return {'ok', int(now), '', view(id, payment, invoice, user), {}}
end
if not user then
    return {'user_not_found', int(now), ''}
end
if not wallet or wallet.user ~= user_id then
    return {'wallet_not_found', int(now), ''}
end
local held = lease_refusal(wallet, owner, token)
if held then
    return {held, int(now), ''}
end

local live = invoice and invoice.payment and read('payment', invoice.payment)

local function refuse(code, details)
    local shown = {}
    if live and (code == 'payment_in_progress' or code == 'invoice_already_paid') then
        shown = view(invoice.payment, live, invoice, user)
    end
    return {code, int(now), close_lease(wallet_id, wallet, owner, keep_it), shown, details or {}}
end

if not invoice or invoice.user ~= user_id then
    return refuse('invoice_not_found')
elseif user.status ~= 'active' then
    return refuse('user_blocked')
elseif wallet.status ~= 'active' then
    return refuse('wallet_inactive')
elseif invoice.status == 'paid' then
    return refuse('invoice_already_paid')
elseif invoice.status == 'void' then
    return refuse('invoice_not_payable')
elseif invoice.status == 'processing' then
    return refuse('payment_in_progress')
elseif invoice.currency ~= wallet.currency then
    return refuse('currency_mismatch')
elseif now >= tonumber(invoice.expires_at) then
    return refuse('invoice_expired')
end
if method == '' then
    method = user.email and 'email' or 'sms'
end
if not user[method == 'email' and 'email' or 'phone'] then
    return refuse('no_channel')
elseif tonumber(invoice.amount) > tonumber(wallet.balance) then
    return refuse('insufficient_funds', {'required', invoice.amount, 'available', wallet.balance})
end
local limit = read_limit(invoice.currency, days)
if not limit then
    return {'bounds', int(now), ''}
elseif over_limit(limit, invoice.amount) then
    return refuse('daily_limit_exceeded', limit_details(limit))
end

if live then
    end_earlier(invoice.payment)
end
payment = {
    invoice = invoice_id, wallet = wallet_id, status = 'requires_confirmation', created_at = int(now),
    method = method, issue = '1', digest = digest, expires_at = int(now + lifetime_ms),
    attempts_remaining = attempts, resends_remaining = resends,
}
if limit.limit then
    payment.limit, payment.used, payment.resets_at = limit.limit, limit.used, limit.resets_at
end
redis.call('HSET', key('payment', id), unpack(flat(payment)))
redis.call('HSET', key('invoice', invoice_id), 'payment', id)
redis.call('ZADD', key('payments', user_id), 0, id)
redis.call('ZADD', key('agenda'), payment.expires_at, id)
append('payment.started', 'payment', id, 'invoice', invoice_id, 'wallet', wallet_id, 'issue', '1')
local closed = close_lease(wallet_id, wallet, owner, keep_it)
return keep(operation, fingerprint, kept_ms, {'ok', int(now), closed, view(id, payment, invoice, user), {}})
