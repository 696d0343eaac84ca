-- confirm_payment(operation_id, payment_id, user_id, key_id, versions, digests, confirms_per_minute, failures_per_day, owner, token, keep, days)
--
-- Judge every rule and the code again and, if all hold, take the money: all of it or nothing.
--
-- key_id    id of the key that the answer was compared under, '' for a challenge that names none
-- versions  of the codes that the answer matches: ',1,3,', or '*' for a verifier without versions
-- digests   '<key id>:<digest>' of the answer under every key of the engine, the one to keep first
--
-- Counting, judging and consuming happen here, always, also for an answer that matches nothing.
--
-- For confirms_per_minute and failures_per_day see shared/behaviour.lua, for days shared/limit.lua.
--
-- Returns {code, now, token, view, details}: 'ok' (details: the settlement's claim), 'replayed' when
-- the accepted code comes again, 'bounds' when the clock lies outside `days`, 'key_unknown' when the engine lacks the
-- key that the answer has to be judged with: nothing is judged, and nothing counted.

-- The claim of the call that took the money. A repeat that finds a later one leaves the work to its holder.
local FIRST_CLAIM = '1'

local payer, invoice_id, wallet_id, amount, currency, merchant, status, created_at, kept_digest, challenge,
    last_call, failure, claim, version = fields('payment', payment_id,
    'user', 'invoice', 'wallet', 'amount', 'currency', 'merchant', 'status', 'created_at', 'digest', 'challenge',
    'last_call', 'failure', 'claim', 'version')
if payer ~= user_id then
    return {'payment_not_found', at, ''}
end
local balance, wallet_status, lease_owner, lease_until, lease_token =
    fields('wallet', wallet_id, 'balance', 'status', 'lease_owner', 'lease_until', 'token')
local wallet = {lease_owner = lease_owner, lease_until = lease_until, token = lease_token}
local limit = read_limit(currency, days)
if not limit then
    return {'bounds', at, ''}
end

local method, issue, attempts, resends, expires_at, payable_until, wrong_attempts, own_key_id =
    unpack_challenge(challenge)

local function details_of(code)
    if code == 'ok' and claim == FIRST_CLAIM then
        return {'claim', claim}
    elseif code == 'confirmation_invalid' then
        return {'attempts_remaining', attempts or '0'}
    elseif code == 'insufficient_funds' then
        return {'required', amount, 'available', balance}
    elseif code == 'daily_limit_exceeded' then
        return limit_details(limit)
    elseif code == 'balance_too_large' then
        return {'too_large', 'day'}
    end
    return {}
end

if last_call and string.sub(last_call .. ' ', 1, #operation_id + 1) == operation_id .. ' ' then
    local outcome = last_call == operation_id and 'ok' or string.sub(last_call, #operation_id + 2)
    return {outcome, at, '', view(payment_id), details_of(outcome)}
end
-- A wrong code costs one attempt, however late and however often its call comes again.
local place = wrong_attempts and string.find(',' .. wrong_attempts .. ',', ',' .. operation_id .. ',', 1, true)
if place then
    local _, later = string.gsub(string.sub(wrong_attempts, place), ',', '')
    attempts = int(attempts + later)
    return {'confirmation_invalid', at, '', view(payment_id), details_of('confirmation_invalid')}
end
local held = lease_refusal(wallet, owner, token)
if held then
    return {held, at, ''}
end

local function answer(code, details)
    return {code, at, close_lease(wallet_id, wallet, owner, keep), view(payment_id), details or details_of(code)}
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
elseif now >= tonumber(expires_at) then
    return answer('confirmation_expired')
elseif now >= tonumber(payable_until) then
    return answer('invoice_expired')
elseif key_id ~= own_key_id then
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
local function refuse(code, ...)
    count(user_id, 'confirms', confirms, 'failures', code == 'confirmation_invalid' and failures)
    redis.call('HSET', key('payment', payment_id), 'last_call', operation_id .. ' ' .. code, ...)
    return answer(code)
end

if versions ~= '*' and not string.find(versions, ',' .. issue .. ',', 1, true) then
    attempts = int(attempts - 1)
    if attempts == '0' then
        end_unconfirmed(payment_id, invoice_id, 'failed', 'reason', 'too_many_attempts')
        return refuse('confirmation_invalid', 'challenge', '', 'failure', 'too_many_attempts')
    end
    return refuse('confirmation_invalid',
        'challenge', pack_challenge(method, issue, attempts, resends, expires_at, payable_until,
            wrong_attempts == '' and operation_id or wrong_attempts .. ',' .. operation_id, own_key_id))
end

-- The right code refused for another reason burns nothing: the user may put it right and try again.
local refused = tonumber(amount) > tonumber(balance) and 'insufficient_funds'
    or limit_refusal(limit, amount)
if refused == 'balance_too_large' then
    return refuse(refused)
elseif refused then
    local changed = next_version(status, version)
    append('payment.refused', payment_id, 'version', changed, 'reason', refused)
    return refuse(refused, 'version', changed)
end

require_integer(amount)
require_integer(balance)
require_integer(limit.used)
require_integer(limit.limit or '0')
redis.call('LLEN', key('entries', wallet_id)) -- it has to be a list before anything is written
local said = version and {'version', next_version(status, version)} or {}
-- This comes first: an agenda that is none stops it here, before money is taken.
redis.call('ZADD', key('agenda'), int(now + CLAIM_MS), payment_id)
count(user_id, 'confirms', confirms)
local after = int(redis.call('HINCRBY', key('wallet', wallet_id), 'balance', '-' .. amount))
local used = int(redis.call('HINCRBY', key('limit', currency), limit.day, amount))
local entry = append('payment.processing', payment_id, 'wallet', wallet_id, 'amount', '-' .. amount,
    'balance', after, 'currency', currency, 'day', limit.day, 'used', used,
    unpack(limit.limit and {'limit', limit.limit, unpack(said)} or said))
redis.call('RPUSH', key('entries', wallet_id), entry)
local limit_now = limit_shown(limit, used)
redis.call('HSET', key('payment', payment_id), 'status', 'processing', 'paid_at', at, 'balance', after,
    'limit', limit_now, 'challenge', '', 'digest', string.match(digests, '^%S+'), 'claim', FIRST_CLAIM, 'last_call', operation_id,
    unpack(said))
local payment = pack_view(payment_id, '', '', invoice_id, wallet_id, user_id, amount, currency, merchant,
    'processing', created_at, limit_now, '', at, after, '')
return {'ok', at, close_lease(wallet_id, wallet, owner, keep), payment, {'claim', FIRST_CLAIM}}
