-- complete_payment(payment_id, claim, verdict) allow-oom
--
-- Write down what the settlement service decided: 'settled', 'given_back', 'reversed' or
-- 'refund_failed'.
--
-- claim  the token under which the service was asked; one that is not current changes nothing
--
-- Returns {code, now, '', view, details}: 'ok', also when it was done before; 'claim_lost' for an old claim. A payment that
-- is settled now is not shown: its caller knows all of it but the time, in details.

local NAMES = {'invoice', 'wallet', 'user', 'amount', 'currency', 'status', 'version', 'claim', 'set_aside'}
if verdict ~= 'settled' then
    for _, name in ipairs(LIMIT_FIELDS) do
        NAMES[#NAMES + 1] = name
    end
end
local payment = named('payment', payment_id, NAMES)
local status = payment.status
local is_debit = verdict == 'settled' or verdict == 'given_back'
if not status then
    return {'payment_not_found', at, ''}
elseif status ~= (is_debit and 'processing' or 'refunding') or payment.claim ~= claim then
    local TO = {settled = 'succeeded', given_back = 'failed', reversed = 'refunded', refund_failed = 'succeeded'}
    if status == TO[verdict] then
        return {'ok', at, '', view(payment_id), {}}
    end
    return {'claim_lost', at, ''}
end

if verdict == 'settled' then
    require_debit(payment)
    settle(payment_id, payment)
    return {'ok', at, '', '', {'settled_at', at}}
end
require_writable(payment, verdict ~= 'refund_failed')
local END = {given_back = give_back, reversed = refund, refund_failed = fail_refund}
END[verdict](payment_id, payment)
return {'ok', at, '', view(payment_id), {}}
