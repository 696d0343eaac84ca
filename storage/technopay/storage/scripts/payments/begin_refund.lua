-- begin_refund(operation_id, fingerprint, kept_ms, payment_id, refund_id, owner, token, keep)
--
-- Begin to give a succeeded payment back; the credit follows when the settlement service has reversed it.
--
-- refund_id  id of this refund, the key of its reversal
--
-- Returns {code, now, token, view, details}; details: the refund and its claim, while that is current

local earlier_reply = recorded_reply(operation_id, fingerprint)
if earlier_reply then
    -- A repeat gets the claim while it is current: the first reply may have been lost.
    local current, id, amount = fields('payment', payment_id, 'claim', 'refund', 'refund_amount')
    if earlier_reply[5] and earlier_reply[5][2] == current then
        earlier_reply[5] = {'claim', current, 'refund', id, 'refund_amount', amount}
    else
        earlier_reply[5] = {}
    end
    return earlier_reply
end
local payment = read('payment', payment_id)
if not payment then
    return {'payment_not_found', at, ''}
end
local wallet = read('wallet', payment.wallet)
local refusal = lease_refusal(wallet, owner, token)
if refusal then
    return {refusal, at, ''}
end

local function reply(code, details)
    local payment_now = view(payment_id)
    return {code, at, close_lease(payment.wallet, wallet, owner, keep), payment_now, details or {}}
end

local amount = payment.amount
if payment.status == 'refunding' or payment.status == 'refunded' then
    return reply('ok')
elseif payment.status ~= 'succeeded' then
    return reply('payment_not_refundable')
elseif tonumber(amount) > MAX_AMOUNT - tonumber(wallet.ledger) then
    return reply('balance_too_large')
end
require_integer(amount)
require_integer(payment.claim or '0')
require_integer(wallet.ledger)
local version = next_version(payment.version)
redis.call('ZADD', key('agenda'), int(now + CLAIM_MS), payment_id)
local claim = int(redis.call('HINCRBY', key('payment', payment_id), 'claim', 1))
redis.call('HSET', key('payment', payment_id), 'status', 'refunding', 'version', version,
    'refund', refund_id, 'refund_amount', amount)
redis.call('HINCRBY', key('wallet', payment.wallet), 'ledger', amount)
append('payment.refunding', payment_id, 'version', version, 'amount', amount)
local details = {'claim', claim, 'refund', refund_id, 'refund_amount', amount}
return record_reply(operation_id, fingerprint, kept_ms, reply('ok', details))
