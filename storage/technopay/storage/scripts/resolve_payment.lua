-- resolve_payment(keys=[journal], args=[operation, fingerprint, kept_ms, payment, verdict, note, by])
--
-- Decide a payment that was set aside: an operator found out what the settlement service did not tell.
--
-- verdict  'settled' or 'refund'
--
-- Returns {code, now, '', view, details}
--@include base
--@include operation
--@include record
--@include pack
--@include payment
--@include settlement
--@include credit

local operation, fingerprint, kept_ms, id, verdict, note, by = unpack(ARGV, 1, 7)

local answered = earlier(operation, fingerprint)
if answered then
    return answered
end
local payment = read('payment', id)
if not payment then
    return {'payment_not_found', at, ''}
end
if payment.set_aside ~= '1' then
    return {'payment_not_resolvable', at, '', view(id), {}}
end
require_integer(payment.claim)
require_writable(payment, verdict == 'refund')

-- In the journal of an earlier version a decision alone made a refund fail: here the failure has its entry before it.
if payment.status == 'refunding' and verdict == 'settled' then
    payment.version = fail_refund(id, payment)
end
payment.version = next_version(payment.status, payment.version)
redis.call('HSET', key('payment', id), 'resolution', verdict, 'resolution_note', note, 'resolution_by', by,
    'resolution_at', at, 'version', payment.version)
append('payment.resolved', id, 'version', payment.version, 'outcome', verdict)
if payment.status == 'refunding' and verdict == 'refund' then
    refund(id, payment)
elseif payment.status == 'processing' and verdict == 'settled' then
    settle(id, payment)
elseif payment.status == 'processing' then
    give_back(id, payment)
end
return keep(operation, fingerprint, kept_ms, {'ok', at, '', view(id), {}})
