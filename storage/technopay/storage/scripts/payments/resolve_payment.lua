-- resolve_payment(operation_id, fingerprint, kept_ms, payment_id, outcome, note, by) recorded
--
-- Decide a payment that was set aside, in place of the settlement service.
--
-- outcome  'settled' or 'refund'
--
-- Returns {code, now, '', view, details}

local payment = read('payment', payment_id)
if not payment then
    return {'payment_not_found', at, ''}
end
if payment.set_aside ~= '1' then
    return {'payment_not_resolvable', at, '', view(payment_id), {}}
end
require_integer(payment.claim)
require_writable(payment, outcome == 'refund')

-- The failure of the refund is an entry of its own, before the decision. An earlier version wrote the decision only.
if payment.status == 'refunding' and outcome == 'settled' then
    payment.version = fail_refund(payment_id, payment)
end
payment.version = next_version(payment.version)
redis.call('HSET', key('payment', payment_id), 'resolution', outcome, 'resolution_note', note, 'resolution_by', by,
    'resolution_at', at, 'version', payment.version)
append('payment.resolved', payment_id, 'version', payment.version, 'outcome', outcome)
local details = {}
if payment.status == 'refunding' and outcome == 'refund' then
    refund(payment_id, payment)
elseif payment.status == 'processing' and outcome == 'settled' then
    settle(payment_id, payment)
elseif payment.status == 'processing' then
    details = give_back(payment_id, payment)
end
return record_reply(operation_id, fingerprint, kept_ms, {'ok', at, '', view(payment_id), details})
