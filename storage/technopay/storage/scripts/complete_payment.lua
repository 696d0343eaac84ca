-- complete_payment(keys=[journal], args=[payment, claim, verdict])
--
-- Write down what the settlement service decided: 'settled', 'given_back' or 'reversed'.
--
-- claim  the token under which the service was asked; one that is not current changes nothing
--
-- Returns {code, now, '', view}: 'ok', also when it was done before; 'fenced' for an old claim.
--@include base
--@include payment
--@include settlement

local id, claim, verdict = unpack(ARGV, 1, 3)

local payment = read('payment', id)
if not payment then
    return {'payment_not_found', int(now), ''}
end
local invoice = read('invoice', payment.invoice)

local from = {settled = 'processing', given_back = 'processing', reversed = 'refunding'}
local to = {settled = 'succeeded', given_back = 'failed', reversed = 'refunded'}
if payment.status == to[verdict] then
    return {'ok', int(now), '', view(id, payment, invoice)}
elseif payment.status ~= from[verdict] or payment.claim ~= claim then
    return {'fenced', int(now), ''}
end

if verdict == 'settled' then
    settle(id, payment, invoice)
elseif verdict == 'given_back' then
    give_back(id, payment, invoice)
else
    refund(id, payment, invoice)
end
return {'ok', int(now), '', view(id, read('payment', id), invoice)}
