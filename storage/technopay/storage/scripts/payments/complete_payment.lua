-- complete_payment(payment_id, claim, verdict) allow-oom
--
-- Write down what the settlement service decided: 'settled', 'given_back', 'reversed' or
-- 'refund_failed'.
--
-- claim  the token under which the service was asked; one that is not current changes nothing
--
-- Returns {code, now, '', view}: 'ok', also when it was done before; 'claim_lost' for an old claim.

local status, current, invoice, wallet, amount, currency, paid_at, set_aside, user, merchant, created_at,
    balance_after, limit, version = fields('payment', payment_id,
    'status', 'claim', 'invoice', 'wallet', 'amount', 'currency', 'paid_at', 'set_aside', 'user', 'merchant',
    'created_at', 'balance', 'limit', 'version')
local is_debit = verdict == 'settled' or verdict == 'given_back'
if not status then
    return {'payment_not_found', at, ''}
elseif status ~= (is_debit and 'processing' or 'refunding') or current ~= claim then
    local TO = {settled = 'succeeded', given_back = 'failed', reversed = 'refunded', refund_failed = 'succeeded'}
    if status == TO[verdict] then
        return {'ok', at, '', view(payment_id)}
    end
    return {'claim_lost', at, ''}
end

local payment = {
    invoice = invoice, wallet = wallet, amount = amount, currency = currency, limit = limit,
    claim = claim, set_aside = set_aside, status = status, version = version,
}
if verdict == 'settled' then
    require_debit(payment)
    settle(payment_id, payment)
    return {'ok', at, '', pack_view(payment_id, '', '', invoice, wallet, user, amount, currency, merchant,
        'succeeded', created_at, limit, '', paid_at, balance_after, at)}
end

require_writable(payment, verdict ~= 'refund_failed')
local END = {given_back = give_back, reversed = refund, refund_failed = fail_refund}
END[verdict](payment_id, payment)
return {'ok', at, '', view(payment_id)}
