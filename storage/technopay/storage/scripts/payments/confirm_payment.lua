-- confirm_payment(operation_id, payment_id, user_id, key_id, versions, digests, confirms_per_minute, failures_per_day, owner, token, keep, periods...)
--
-- Judge every rule and the code again and, if all hold, take the money: all of it or nothing.
--
-- key_id    id of the key that the answer was compared under, '' for a payment that names none
-- versions  of the codes that the answer matches: ',1,3,', or '*' for a verifier without versions
-- digests   '<key id>:<digest>' of the answer under every key of the engine, the one to keep first
--
-- Counting, judging and consuming happen here, always, also for an answer that matches nothing.
--
-- For confirms_per_minute and failures_per_day see shared/behaviour.lua, for periods shared/limits.lua.
--
-- Returns {code, now, token, view, details}: 'ok' (details: the settlement's claim), 'replayed' when
-- the accepted code comes again, 'bounds' when the clock lies outside `periods`, 'key_unknown' when the engine lacks the
-- key that the answer has to be judged with: nothing is judged, and nothing counted.

-- The claim of the call that took the money. A repeat that finds a later one leaves the work to its holder.
local FIRST_CLAIM = '1'

local payer, invoice_id, wallet_id, amount, currency, merchant, status, created_at, version, last_call, kept_digest,
    failure, claim = fields('payment', payment_id, 'user', 'invoice', 'wallet', 'amount', 'currency', 'merchant', 'status',
    'created_at', 'version', 'last_call', 'digest', 'failure', 'claim')
if payer ~= user_id then
    return {'payment_not_found', at, ''}
end
local balance, wallet_status, lease_owner, lease_until, lease_token =
    fields('wallet', wallet_id, 'balance', 'status', 'lease_owner', 'lease_until', 'token')
local wallet = {lease_owner = lease_owner, lease_until = lease_until, token = lease_token}
local counters = read_counters(currency, user_id, periods)
if not counters then
    return {'bounds', at, ''}
end
local code = status == 'requires_confirmation' and read_code(payment_id)

local function details_of(result)
    if result == 'ok' and claim == FIRST_CLAIM then
        return {'claim', FIRST_CLAIM}
    elseif result == 'confirmation_invalid' then
        return {'attempts_remaining', code and code.attempts or '0'}
    elseif result == 'insufficient_funds' then
        return {'required', amount, 'available', balance}
    elseif result == 'daily_limit_exceeded' then
        local _, counter = limit_refusal(counters, amount)
        return limit_details(counter or counters[1])
    elseif result == 'balance_too_large' then
        return {'too_large', 'day'}
    end
    return {}
end

if last_call and string.sub(last_call .. ' ', 1, #operation_id + 1) == operation_id .. ' ' then
    local outcome = last_call == operation_id and 'ok' or string.sub(last_call, #operation_id + 2)
    return {outcome, at, '', view(payment_id), details_of(outcome)}
end
-- A wrong code costs one attempt, however late and however often its call comes again.
local wrong_calls = code and code.wrong_calls
local place = wrong_calls and string.find(',' .. wrong_calls .. ',', ',' .. operation_id .. ',', 1, true)
if place then
    local _, later = string.gsub(string.sub(wrong_calls, place), ',', '')
    code.attempts = int(code.attempts + later)
    return {'confirmation_invalid', at, '', view(payment_id), details_of('confirmation_invalid')}
end
local held = lease_refusal(wallet, owner, token)
if held then
    return {held, at, ''}
end

local function answer(result, details)
    return {result, at, close_lease(wallet_id, wallet, owner, keep), view(payment_id), details or details_of(result)}
end

local taken = status == 'processing' or status == 'succeeded' or failure == 'settlement_failed'
if taken and kept_digest then
    -- Up to schema 4 a digest was kept without its key.
    local prefix = string.match(kept_digest, '^%x+:')
    local listed = ' ' .. digests .. ' '
    if string.find(listed, (prefix and kept_digest or ':' .. kept_digest) .. ' ', 1, true) then
        return answer('replayed')
    elseif status == 'processing' and prefix and not string.find(listed, ' ' .. prefix, 1, true) then
        return answer('key_unknown')
    end
end
local user_status, confirms_before, failures_before = fields('user', user_id, 'status', 'confirms', 'failures')
local locked = locked_out(failures_before, failures_per_day)
if user_status ~= 'active' then
    return answer('user_blocked')
elseif locked then
    return answer('rate_limited', locked)
elseif wallet_status ~= 'active' then
    return answer('wallet_inactive')
elseif status == 'expired' then
    return answer('confirmation_expired')
elseif status ~= 'requires_confirmation' then
    return answer('payment_not_confirmable')
elseif now >= tonumber(code.expires_at) then
    return answer('confirmation_expired')
elseif now >= tonumber(code.payable_until) then
    return answer('invoice_expired')
elseif key_id ~= (code.key or '') then
    return answer('key_unknown')
end

-- Whoever tried too often learns nothing of the code, be it right or wrong, and it costs nothing.
local confirms, confirms_left_ms = increment_window(MINUTE_MS, confirms_before, confirms_per_minute)
local failures = increment_window(DAY_MS, failures_before, failures_per_day)
local wait = exceeded('confirms', confirms_left_ms)
if wait then
    return answer('rate_limited', wait)
end

-- What happened is kept with the payment, so that a lost reply can be asked for again.
local function refuse(result, ...)
    count(user_id, 'confirms', confirms, 'failures', result == 'confirmation_invalid' and failures)
    redis.call('HSET', key('payment', payment_id), 'last_call', operation_id .. ' ' .. result, ...)
    return answer(result)
end

if versions ~= '*' and not string.find(versions, ',' .. code.version .. ',', 1, true) then
    code.attempts = int(code.attempts - 1)
    if code.attempts == '0' then
        end_unconfirmed(payment_id, invoice_id, 'failed', 'reason', 'too_many_attempts')
        redis.call('DEL', key('code', payment_id))
        return refuse('confirmation_invalid', 'failure', 'too_many_attempts')
    end
    code.wrong_calls = wrong_calls and wrong_calls .. ',' .. operation_id or operation_id
    write_code(payment_id, code)
    return refuse('confirmation_invalid')
end

-- The right code refused for another reason burns nothing: the user may put it right and try again.
local refused = tonumber(amount) > tonumber(balance) and 'insufficient_funds'
    or limit_refusal(counters, amount)
if refused == 'balance_too_large' then
    return refuse(refused)
elseif refused then
    local changed = next_version(version)
    append('payment.refused', payment_id, 'version', changed, 'reason', refused)
    return refuse(refused, 'version', changed)
end

require_integer(amount)
require_integer(balance)
for _, counter in ipairs(counters) do
    require_integer(counter.used)
    require_integer(counter.limit or '0')
end
redis.call('LLEN', key('entries', wallet_id)) -- it has to be a list before anything is written
version = next_version(version)
-- This comes first: an agenda that is none stops it here, before money is taken.
redis.call('ZADD', key('agenda'), int(now + CLAIM_MS), payment_id)
count(user_id, 'confirms', confirms)
local after = int(redis.call('HINCRBY', key('wallet', wallet_id), 'balance', '-' .. amount))
local entry = append(unpack(count_debit(counters, amount, {
    'payment.processing', payment_id, 'version', version, 'wallet', wallet_id, 'amount', '-' .. amount,
    'balance', after, 'currency', currency,
})))
redis.call('RPUSH', key('entries', wallet_id), entry)
redis.call('HSET', key('payment', payment_id), unpack(add_counters({
    'status', 'processing', 'version', version, 'paid_at', at, 'balance', after, 'claim', FIRST_CLAIM,
    'digest', string.match(digests, '^%S+'), 'last_call', operation_id,
}, counters)))
for _, counter in ipairs(counters) do
    if not counter.limit then -- it was lifted since the start
        redis.call('HDEL', key('payment', payment_id), counter.rule.limit_field, counter.rule.used_field)
    end
end
redis.call('DEL', key('code', payment_id))
local shown = pack_view({
    payment_id, '', '', invoice_id, wallet_id, user_id, amount, currency, merchant, 'processing', created_at,
}, counters, '', '', '', '', '', '', at, after)
return {'ok', at, close_lease(wallet_id, wallet, owner, keep), shown, {'claim', FIRST_CLAIM}}
