-- resend_code(operation_id, fingerprint, kept_ms, payment_id, user_id, code_version, code_lifetime_ms, codes_per_hour, failures_per_day, owner, token, keep) recorded
--
-- Replace the code of a payment: a new code and a new expiry, the same attempts; the old code is refused.
--
-- For codes_per_hour and failures_per_day see shared/rate_limits.lua.
--
-- code_version  the number of the new code; it has to follow the current one, so that a late copy of a call is refused
--
-- Returns {code, now, token, view, details}; 'code_version' (details: the current one) if `code_version` does not
-- follow.

local payment = read('payment', payment_id)
if not payment or payment.user ~= user_id then
    return {'payment_not_found', at, ''}
end
local wallet = read('wallet', payment.wallet)
local user_status, email, phone, codes_before, failures, address_version =
    fields('user', user_id, 'status', 'email', 'phone', 'codes', 'failures', 'address_version')
if payment.last_call == operation_id then
    return {'ok', at, '', view(payment_id), {}}
end
local code = read_code(payment_id) or {}
local refusal = lease_refusal(wallet, owner, token)
if refusal then
    return {refusal, at, ''}
end

local function reply(result, details)
    local new_token = close_lease(payment.wallet, wallet, owner, keep)
    return {result, at, new_token, view(payment_id), details or {}}
end

local codes, codes_left_ms = increment_window(HOUR_MS, codes_before, codes_per_hour)
local rate_limit = exceeded('codes', codes_left_ms)
local locked = locked_out(failures, failures_per_day)
if user_status ~= 'active' then
    return reply('user_blocked')
elseif locked then
    return reply('rate_limited', locked)
elseif wallet.status ~= 'active' then
    return reply('wallet_inactive')
elseif payment.status == 'expired' then
    return reply('confirmation_expired')
elseif payment.status ~= 'requires_confirmation' then
    return reply('payment_not_confirmable')
elseif now >= tonumber(code.expires_at) then
    return reply('confirmation_expired')
elseif now >= tonumber(code.payable_until) then
    return reply('invoice_expired')
elseif not (email or phone) then
    return reply('no_channel')
elseif code.resends == '0' then
    return reply('rate_limited', {'retry_after_ms', int(code.expires_at - now), 'too_many', 'resends'})
elseif rate_limit then
    return reply('rate_limited', rate_limit)
elseif tonumber(code_version) ~= code.version + 1 then
    return reply('code_version', {'code_version', code.version})
end

local code_expires_at = int(now + code_lifetime_ms)
local version = next_version(payment.version)
redis.call('ZADD', key('agenda'), code_expires_at, payment_id)
redis.call('HSET', key('payment', payment_id), 'last_call', operation_id, 'version', version)
code.version, code.resends, code.expires_at = code_version, int(code.resends - 1), code_expires_at
code.addresses = address_version or nil
-- The address for this method can be gone since; then the other one gets the code.
code.method = code.method == 'sms' and phone and 'sms' or email and 'email' or 'sms'
write_code(payment_id, code)
append_code('payment.code_resent', payment_id, code.method, email, code_version, version)
count(user_id, 'codes', codes)
return record_reply(operation_id, fingerprint, kept_ms, reply('ok'))
