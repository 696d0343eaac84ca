-- complete_payment(payment_id, claim, verdict) allow-oom
--
-- Record the verdict of the settlement service: 'settled', 'given_back', 'reversed' or 'refund_failed'.
--
-- claim  the token of the request to the service; an old one changes nothing
--
-- Returns {code, now, '', view, details}: 'ok', also when it was done before; 'claim_lost' for an old claim. The view
-- of a payment that is settled now is left out: the caller only lacks the time, which is in the details.

local status, current, wallet, amount, version, set_aside =
    fields('payment', payment_id, 'status', 'claim', 'wallet', 'amount', 'version', 'set_aside')
local is_debit = verdict == 'settled' or verdict == 'given_back'
if not status then
    return {'payment_not_found', at, ''}
elseif status ~= (is_debit and 'processing' or 'refunding') or current ~= claim then
    if is_recorded(verdict, read('payment', payment_id)) then
        return {'ok', at, '', view(payment_id), {}}
    end
    return {'claim_lost', at, ''}
end

if verdict == 'settled' then
    local payment = {wallet = wallet, amount = amount, version = version, claim = claim, set_aside = set_aside}
    require_debit(payment)
    settle(payment_id, payment)
    return {'ok', at, '', '', {'settled_at', at}}
end
local payment = read('payment', payment_id)
require_writable(payment, verdict ~= 'refund_failed')
local details = {}
if verdict == 'given_back' then
    details = give_back(payment_id, payment)
elseif verdict == 'reversed' then
    refund(payment_id, payment)
else
    fail_refund(payment_id, payment)
end
return {'ok', at, '', view(payment_id), details}
