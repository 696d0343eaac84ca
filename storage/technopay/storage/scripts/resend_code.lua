-- resend_code(keys=[journal], args=[operation, fingerprint, kept_ms, owner, token, keep_it, payment, user, issue, digest, lifetime_ms])
--
-- Replace the code of a payment: a fresh code, a fresh expiry, the same attempts; the old code is dead.
--
-- issue   the number of the new code; it has to follow the current one
-- digest  of the new code
--
-- Returns {code, now, token, view, details}; 'issue' (details: the current one) when `issue` does not follow.
--@include base
--@include operation
--@include lease
--@include payment

local operation, fingerprint, kept_ms, owner, token, keep_it = unpack(ARGV, 1, 6)
local id, user_id, issue, digest, lifetime_ms = unpack(ARGV, 7, 11)

local answered = earlier(operation, fingerprint)
if answered then
    return answered
end
local payment = read('payment', id)
local invoice = payment and read('invoice', payment.invoice)
if not payment or invoice.user ~= user_id then
    return {'payment_not_found', int(now), ''}
end
local wallet, user = read('wallet', payment.wallet), read('user', user_id)
if payment.operation == operation then
    return {'ok', int(now), '', view(id, payment, invoice, user), {}}
end
local held = lease_refusal(wallet, owner, token)
if held then
    return {held, int(now), ''}
end

local function answer(code, details)
    local closed = close_lease(payment.wallet, wallet, owner, keep_it)
    return {code, int(now), closed, view(id, payment, invoice, user), details or {}}
end

if user.status ~= 'active' then
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
elseif not user[payment.method == 'email' and 'email' or 'phone'] then
    return answer('no_channel')
elseif payment.resends_remaining == '0' then
    return answer('rate_limited', {'retry_after_ms', int(tonumber(payment.expires_at) - now)})
elseif tonumber(issue) ~= tonumber(payment.issue) + 1 then
    return answer('issue', {'issue', payment.issue})
end

local changes = {
    issue = issue, digest = digest, expires_at = int(now + lifetime_ms),
    resends_remaining = int(tonumber(payment.resends_remaining) - 1), operation = operation, outcome = 'ok',
}
for name, value in pairs(changes) do
    payment[name] = value
end
redis.call('HSET', key('payment', id), unpack(flat(changes)))
redis.call('ZADD', key('agenda'), payment.expires_at, id)
append('payment.code_resent', 'payment', id, 'issue', issue)
return keep(operation, fingerprint, kept_ms, answer('ok'))
