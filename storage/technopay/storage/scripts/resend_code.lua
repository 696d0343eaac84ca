-- resend_code(keys=[journal], args=[operation, fingerprint, kept_ms, owner, token, keep_it, payment, user, issue, lifetime_ms, codes_per_hour, failures_per_day])
--
-- Replace the code of a payment: a fresh code, a fresh expiry, the same attempts; the old code is dead.
--
-- For codes_per_hour and failures_per_day see shared/behaviour.lua.
--
-- issue   the number of the new code; it has to follow the current one, so that a late copy of a call does nothing
--
-- Returns {code, now, token, view, details}; 'issue' (details: the current one) when `issue` does not follow.
--@include base
--@include operation
--@include lease
--@include pack
--@include payment
--@include challenge
--@include code
--@include record
--@include behaviour

local operation, fingerprint, kept_ms, owner, token, keep_it = unpack(ARGV, 1, 6)
local id, user_id, issue, lifetime_ms, codes_per_hour, failures_per_day = unpack(ARGV, 7, 12)

local answered = earlier(operation, fingerprint)
if answered then
    return answered
end
local payment = read('payment', id)
if not payment or payment.user ~= user_id then
    return {'payment_not_found', at, ''}
end
local wallet = read('wallet', payment.wallet)
local user_status, email, phone, codes_before, failures =
    fields('user', user_id, 'status', 'email', 'phone', 'codes', 'failures')
if payment.last_call == operation then
    return {'ok', at, '', view(id), {}}
end
local method, current, attempts, resends, expires_at, payable_until, guesses, key_id =
    unpack_challenge(payment.challenge)
local held = lease_refusal(wallet, owner, token)
if held then
    return {held, at, ''}
end

local function answer(code, details)
    local closed = close_lease(payment.wallet, wallet, owner, keep_it)
    return {code, at, closed, view(id), details or {}}
end

local codes, codes_left_ms = one_more(HOUR_MS, codes_before, codes_per_hour)
local wait = too_often('codes', codes_left_ms)
local locked = locked_out(failures, failures_per_day)
if user_status ~= 'active' then
    return answer('user_blocked')
elseif locked then
    return answer('rate_limited', locked)
elseif wallet.status ~= 'active' then
    return answer('wallet_inactive')
elseif payment.status == 'expired' then
    return answer('confirmation_expired')
elseif payment.status ~= 'requires_confirmation' then
    return answer('payment_not_confirmable')
elseif now >= tonumber(expires_at) then
    return answer('confirmation_expired')
elseif now >= tonumber(payable_until) then
    return answer('invoice_expired')
elseif not (method == 'email' and email or method == 'sms' and phone) then
    return answer('no_channel')
elseif resends == '0' then
    return answer('rate_limited', {'retry_after_ms', int(expires_at - now), 'too_many', 'resends'})
elseif wait then
    return answer('rate_limited', wait)
elseif tonumber(issue) ~= current + 1 then
    return answer('issue', {'issue', current})
end

local ends_at = int(now + lifetime_ms)
local version = next_version(payment.status, payment.version)
redis.call('ZADD', key('agenda'), ends_at, id)
redis.call('HSET', key('payment', id), 'last_call', operation, 'version', version,
    'challenge', pack_challenge(method, issue, attempts, int(resends - 1), ends_at, payable_until, guesses,
        key_id))
append_code('payment.code_resent', id, method, email, issue, 'version', version)
count(user_id, 'codes', codes)
return keep(operation, fingerprint, kept_ms, answer('ok'))
