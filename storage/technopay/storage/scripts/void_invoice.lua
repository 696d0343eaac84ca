-- void_invoice(keys=[journal], args=[operation, fingerprint, kept_ms, invoice])
--
-- Withdraw an invoice. A payment of it that still waits for its code is canceled, and its user told.
--
-- Returns {code, now, '', {invoice, fields}, view of the payment in the way}
--@include base
--@include operation
--@include payment

local operation, fingerprint, kept_ms, id = unpack(ARGV, 1, 4)

local answered = earlier(operation, fingerprint)
if answered then
    return answered
end
local invoice = read('invoice', id)
if not invoice then
    return {'invoice_not_found', int(now), ''}
end
local live = invoice.payment and read('payment', invoice.payment)
if invoice.status == 'processing' or invoice.status == 'paid' then
    return {'invoice_not_voidable', int(now), '', {id, flat(invoice)}, view(invoice.payment, live, invoice)}
end
if invoice.status == 'void' then
    return {'ok', int(now), '', {id, flat(invoice)}}
end
if live and is_expired(live) then
    end_unconfirmed(invoice.payment, live, 'expired')
elseif live then
    end_unconfirmed(invoice.payment, live, 'canceled', 'by', 'void')
end
invoice.status, invoice.payment = 'void', nil
redis.call('HSET', key('invoice', id), 'status', 'void')
append('invoice.voided', 'invoice', id)
return keep(operation, fingerprint, kept_ms, {'ok', int(now), '', {id, flat(invoice)}})
