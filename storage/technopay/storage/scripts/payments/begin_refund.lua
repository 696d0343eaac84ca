-- begin_refund(operation_id, fingerprint, kept_ms, payment_id, refund_id, amount, note, by, owner, token, keep)
--
-- Begin to give a succeeded payment back, or a part of it; the credit follows when the settlement service has reversed
-- it.
--
-- refund_id  id of this refund, the key of its reversal
-- amount     '' for all that is left
-- note, by   text and operator, or ''
--
-- Returns {code, now, token, view, details}; details: the refund and its claim, while that is current; `refundable` if
-- less than the amount is left

local earlier_reply = recorded_reply(operation_id, fingerprint)
if earlier_reply then
    -- A repeat gets the claim while it is current: the first reply may have been lost.
    local current, id, refunding = fields('payment', payment_id, 'claim', 'refund', 'refund_amount')
    if earlier_reply[5] and earlier_reply[5][2] == current then
        earlier_reply[5] = {'claim', current, 'refund', id, 'refund_amount', refunding}
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

require_integer(payment.amount)
local refunds = read_refunds(payment)
local left = payment.status == 'refunded' and '0' or int(payment.amount - refunded_amount(refunds))
if payment.status == 'refunded' and amount == '' then
    return reply('ok')
elseif payment.status == 'refunding' then
    if amount == '' and payment.refund_amount == left then
        return reply('ok')
    end
    return reply('refund_in_progress')
elseif payment.status ~= 'succeeded' and payment.status ~= 'refunded' then
    return reply('payment_not_refundable')
elseif amount ~= '' and tonumber(amount) > tonumber(left) then
    return reply('refund_too_large', {'refundable', left})
end
amount = amount == '' and left or amount
require_amount(amount, 1)
if not make_room(refunds) then
    return reply('payment_not_refundable')
elseif tonumber(amount) > MAX_AMOUNT - tonumber(wallet.ledger) then
    return reply('balance_too_large')
end
require_integer(payment.claim or '0')
require_integer(wallet.ledger)
local version = next_version(payment.version)
refunds[#refunds + 1] = new_refund(refund_id, amount, 'pending', note, by)
-- One that left the store and was restored stays from now on.
redis.call('ZADD', key('payments', payment.user), 0, payment_id)
redis.call('ZADD', key('invoices', payment.user), 0, payment.invoice)
redis.call('PERSIST', key('payment', payment_id))
redis.call('PERSIST', key('invoice', payment.invoice))
redis.call('ZADD', key('agenda'), int(now + CLAIM_MS), payment_id)
local claim = int(redis.call('HINCRBY', key('payment', payment_id), 'claim', 1))
redis.call('HSET', key('payment', payment_id), 'status', 'refunding', 'version', version,
    'refund', refund_id, 'refund_amount', amount, 'refunds', list_refunds(refunds))
redis.call('HINCRBY', key('wallet', payment.wallet), 'ledger', amount)
append('payment.refunding', payment_id, 'version', version, 'amount', amount, 'refund', refund_id)
local details = {'claim', claim, 'refund', refund_id, 'refund_amount', amount}
return record_reply(operation_id, fingerprint, kept_ms, reply('ok', details))
