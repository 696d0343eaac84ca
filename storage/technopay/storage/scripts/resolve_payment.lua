-- resolve_payment(keys=[journal], args=[operation, fingerprint, kept_ms, payment, verdict, note, by])
--
-- Decide a payment that was set aside: an operator found out what the settlement service did not tell.
--
-- verdict  'settled' or 'refund'
--
-- Returns {code, now, '', view, details}
--@include base
--@include operation
--@include payment
--@include settlement

local operation, fingerprint, kept_ms, id, verdict, note, by = unpack(ARGV, 1, 7)

local answered = earlier(operation, fingerprint)
if answered then
    return answered
end
local payment = read('payment', id)
if not payment then
    return {'payment_not_found', int(now), ''}
end
local invoice = read('invoice', payment.invoice)
if payment.set_aside ~= '1' then
    return {'payment_not_resolvable', int(now), '', view(id, payment, invoice), {}}
end

redis.call('HSET', key('payment', id), 'resolution', verdict, 'resolution_note', note, 'resolution_by', by,
    'resolution_at', int(now))
append('payment.resolved', 'payment', id, 'outcome', verdict)
if payment.status == 'refunding' and verdict == 'settled' then
    redis.call('HSET', key('payment', id), 'status', 'succeeded')
    redis.call('HINCRBY', key('wallet', payment.wallet), 'in_flight', '-' .. invoice.amount)
    leave_agenda(id, payment)
elseif payment.status == 'refunding' then
    refund(id, payment, invoice)
elseif verdict == 'settled' then
    settle(id, payment, invoice)
else
    give_back(id, payment, invoice)
end
return keep(operation, fingerprint, kept_ms, {'ok', int(now), '', view(id, read('payment', id), invoice), {}})
