-- start_payment(operation_id, fingerprint, kept_ms, payment_id, user_id, wallet_id, invoice_id, method, key_id, code_lifetime_ms, attempts, resends, codes_per_hour, failures_per_day, owner, token, keep, periods...) recorded
--
-- Create a payment of an invoice, which waits for its confirmation. Nothing is deducted.
--
-- payment_id  id of the new payment; if it exists, this call is a repeat
-- method      '', 'email' or 'sms'; '' takes the first that the user has
-- key_id      id of the key of this payment's codes
-- attempts    how many wrong codes end the payment; resends: how many further codes can be sent
--
-- For codes_per_hour and failures_per_day see shared/rate_limits.lua, for periods shared/counters.lua.
--
-- Returns {code, now, token, view, details}; 'bounds' if the clock is outside `periods`, 'limit_short' as
-- confirm_payment.

if exists('payment', payment_id) then
    return {'ok', at, '', view(payment_id), {}}
end
local user_status, email, phone, codes_before, failures, address_version =
    fields('user', user_id, 'status', 'email', 'phone', 'codes', 'failures', 'address_version')
if not user_status then
    return {'user_not_found', at, ''}
end
local wallet_user, wallet_status, wallet_currency, balance, lease_owner, lease_until, lease_token =
    fields('wallet', wallet_id, 'user', 'status', 'currency', 'balance', 'lease_owner', 'lease_until', 'token')
if wallet_user ~= user_id then
    return {'wallet_not_found', at, ''}
end
local wallet = {lease_owner = lease_owner, lease_until = lease_until, token = lease_token}
local refusal = lease_refusal(wallet, owner, token)
if refusal then
    return {refusal, at, ''}
end
local invoice_user, invoice_status, amount, currency, merchant, payable_until, live, metadata =
    fields('invoice', invoice_id, 'user', 'status', 'amount', 'currency', 'merchant', 'expires_at', 'payment', 'metadata')
local live_status = live and invoice_user == user_id and fields('payment', live, 'status')

local function refuse(code, details)
    local blocking_payment = ''
    if live and (code == 'payment_in_progress' or code == 'invoice_already_paid') then
        blocking_payment = view(live)
    end
    return {code, at, close_lease(wallet_id, wallet, owner, keep), blocking_payment, details or {}}
end

local locked = locked_out(failures, failures_per_day)
if invoice_user ~= user_id then
    return refuse('invoice_not_found')
elseif user_status ~= 'active' then
    return refuse('user_blocked')
elseif locked then
    return refuse('rate_limited', locked)
elseif wallet_status ~= 'active' then
    return refuse('wallet_inactive')
elseif invoice_status == 'void' then
    return refuse('invoice_not_payable')
elseif live_status == 'processing' then
    return refuse('payment_in_progress')
elseif live_status and live_status ~= 'requires_confirmation' then
    return refuse('invoice_already_paid')
elseif currency ~= wallet_currency then
    return refuse('currency_mismatch')
elseif invoice_status == 'expired' or now >= tonumber(payable_until) then
    return refuse('invoice_expired')
end
if method == '' then
    method = email and 'email' or 'sms'
end
if not (method == 'email' and email or method == 'sms' and phone) then
    return refuse('no_channel')
elseif tonumber(amount) > tonumber(balance) then
    return refuse('insufficient_funds', {'required', amount, 'available', balance})
end
local counters = read_counters(currency, user_id, periods)
if not counters then
    return {'bounds', at, ''}
end
local limit_code, counter = limit_refusal(counters, amount)
if limit_code == 'limit_short' then
    return {limit_code, at, raise_token(wallet_id), '', slice_request(counter, amount)}
elseif limit_code then
    return refuse(limit_code, limit_code == 'balance_too_large' and {'too_large', 'day'} or limit_details(counter))
end
local codes, codes_left_ms = increment_window(HOUR_MS, codes_before, codes_per_hour)
local rate_limit = exceeded('codes', codes_left_ms)
if rate_limit then
    return refuse('rate_limited', rate_limit)
end

if live then
    redis.call('ZCARD', key('payments', user_id)) -- it has to be a sorted set before anything is written
    end_earlier(live, invoice_id, 'restart')
end
local code_expires_at = int(now + code_lifetime_ms)
redis.call('ZADD', key('payments', user_id), 0, payment_id)
local payment = {
    'status', 'requires_confirmation', 'user', user_id, 'wallet', wallet_id, 'invoice', invoice_id, 'amount', amount,
    'currency', currency, 'merchant', merchant, 'created_at', at, 'version', '1',
}
if metadata then
    payment[#payment + 1], payment[#payment + 2] = 'metadata', '1'
end
redis.call('HSET', key('payment', payment_id), unpack(add_counters(payment, counters)))
write_code(payment_id, {
    method = method, version = '1', attempts = attempts, resends = resends, expires_at = code_expires_at,
    payable_until = payable_until, key = key_id, addresses = address_version or nil,
})
redis.call('HSET', key('invoice', invoice_id), 'payment', payment_id)
redis.call('ZADD', key('agenda'), code_expires_at, payment_id)
append_code('payment.started', payment_id, method, email, '1', '1')
count(user_id, 'codes', codes)
local new_token = close_lease(wallet_id, wallet, owner, keep)
local started = pack_view({
    payment_id, email or '', phone or '', invoice_id, wallet_id, user_id, amount, currency, merchant,
    'requires_confirmation', at,
}, counters, metadata, method, '1', attempts, resends, code_expires_at, key_id)
return record_reply(operation_id, fingerprint, kept_ms, {'ok', at, new_token, started, {}})
