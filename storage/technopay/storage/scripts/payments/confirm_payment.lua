-- confirm_payment(operation_id, payment_id, user_id, key_id, versions, digests, confirms_per_minute, failures_per_day, owner, token, keep, periods...)
--
-- Check every rule and the code again and, if all hold, take the money: all of it or nothing.
--
-- key_id    id of the key that the answer was compared under, '' for a payment that names none
-- versions  of the codes that the answer matches: ',1,3,', or '*' for a verifier without versions
-- digests   '<key id>:<digest>' of the answer under every key of the engine; the first one is stored
--
-- The script alone checks, counts and consumes, also for an answer that matches no code.
--
-- For confirms_per_minute and failures_per_day see shared/rate_limits.lua, for periods shared/counters.lua.
--
-- Returns {code, now, token, view, details}: 'ok' (details: the settlement's claim), 'replayed' for a repeat of the
-- accepted code, 'bounds' if the clock is outside `periods`, 'key_unknown' if the engine lacks the key of the code:
-- nothing is checked, and nothing counted; 'limit_short' if the home of a limit has to be asked first, see
-- shared/slices.lua.

-- The claim of the first settlement attempt. A repeat gets it unless another process has claimed the payment since.
local FIRST_CLAIM = '1'

local payer, invoice_id, wallet_id, amount, currency, merchant, status, created_at, version, last_call, kept_digest,
    failure, claim, has_metadata = fields('payment', payment_id, 'user', 'invoice', 'wallet', 'amount', 'currency',
    'merchant', 'status', 'created_at', 'version', 'last_call', 'digest', 'failure', 'claim', 'metadata')
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
-- A wrong code costs one attempt, however often and however late its call is repeated.
local wrong_calls = code and code.wrong_calls
local place = wrong_calls and string.find(',' .. wrong_calls .. ',', ',' .. operation_id .. ',', 1, true)
if place then
    local _, later = string.gsub(string.sub(wrong_calls, place), ',', '')
    code.attempts = int(code.attempts + later)
    return {'confirmation_invalid', at, '', view(payment_id), details_of('confirmation_invalid')}
end
local refusal = lease_refusal(wallet, owner, token)
if refusal then
    return {refusal, at, ''}
end

local function reply(result, details)
    return {result, at, close_lease(wallet_id, wallet, owner, keep), view(payment_id), details or details_of(result)}
end

local is_debited = status == 'processing' or status == 'succeeded' or failure == 'settlement_failed'
if is_debited and kept_digest then
    -- Up to schema 4 a digest has no key id.
    local prefix = string.match(kept_digest, '^%x+:')
    local own_digests = ' ' .. digests .. ' '
    if string.find(own_digests, (prefix and kept_digest or ':' .. kept_digest) .. ' ', 1, true) then
        return reply('replayed')
    elseif status == 'processing' and prefix and not string.find(own_digests, ' ' .. prefix, 1, true) then
        return reply('key_unknown')
    end
end
local user_status, confirms_before, failures_before, address_version =
    fields('user', user_id, 'status', 'confirms', 'failures', 'address_version')
local locked = locked_out(failures_before, failures_per_day)
if user_status ~= 'active' then
    return reply('user_blocked')
elseif locked then
    return reply('rate_limited', locked)
elseif wallet_status ~= 'active' then
    return reply('wallet_inactive')
elseif status == 'expired' then
    return reply('confirmation_expired')
elseif status ~= 'requires_confirmation' then
    return reply('payment_not_confirmable')
elseif now >= tonumber(code.expires_at) then
    return reply('confirmation_expired')
elseif now >= tonumber(code.payable_until) then
    return reply('invoice_expired')
elseif key_id ~= (code.key or '') then
    return reply('key_unknown')
end

-- Beyond the limit the reply does not depend on the code, and no attempt is counted.
local confirms, confirms_left_ms = increment_window(MINUTE_MS, confirms_before, confirms_per_minute)
local failures = increment_window(DAY_MS, failures_before, failures_per_day)
local rate_limit = exceeded('confirms', confirms_left_ms)
if rate_limit then
    return reply('rate_limited', rate_limit)
end

-- The refusal is stored with the payment, so that a repeat after a lost reply gets it again.
local function refuse(result, ...)
    count(user_id, 'confirms', confirms, 'failures', result == 'confirmation_invalid' and failures)
    redis.call('HSET', key('payment', payment_id), 'last_call', operation_id .. ' ' .. result, ...)
    return reply(result)
end

if versions ~= '*' and not (string.find(versions, ',' .. code.version .. ',', 1, true)
    and is_of_addresses(code, address_version)) then
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

-- A right code that is refused for another reason stays valid: the user can fix that and try again.
local limit_code, counter = limit_refusal(counters, amount)
local refused = tonumber(amount) > tonumber(balance) and 'insufficient_funds' or limit_code
if refused == 'limit_short' then
    -- Commands that were sent behind this one come again in their order: their token is stale.
    return {refused, at, raise_token(wallet_id), '', slice_request(counter, amount)}
elseif refused == 'balance_too_large' then
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
    if counter.slice then
        require_integer(counter.slice.granted)
        require_integer(counter.slice.returned)
    end
end
redis.call('LLEN', key('entries', wallet_id)) -- it has to be a list before anything is written
version = next_version(version)
-- The agenda is written first: a key of a wrong type fails here, before money is taken.
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
local paid = pack_view({
    payment_id, '', '', invoice_id, wallet_id, user_id, amount, currency, merchant, 'processing', created_at,
}, counters, has_metadata and metadata_of(invoice_id), '', '', '', '', '', '', at, after)
return {'ok', at, close_lease(wallet_id, wallet, owner, keep), paid, {'claim', FIRST_CLAIM}}
