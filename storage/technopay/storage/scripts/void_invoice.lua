-- void_invoice(keys=[journal], args=[operation, fingerprint, kept_ms, invoice])
--
-- Withdraw an invoice. A payment of it that still waits for its code is canceled, and its user told.
--
-- Returns {code, now, '', {invoice, fields}, view of the payment in the way}
--@include base
--@include operation
--@include pack
--@include payment
--@include challenge
--@include unconfirmed
--@include replaced
--@include record
--@include invoice

local operation, fingerprint, kept_ms, id = unpack(ARGV, 1, 4)

local answered = earlier(operation, fingerprint)
if answered then
    return answered
end
local invoice = read_invoice(id)
if not invoice then
    return {'invoice_not_found', at, ''}
end
if invoice.status == 'processing' or invoice.status == 'paid' then
    return {'invoice_not_voidable', at, '', {id, flat(invoice)}, view(invoice.payment)}
end
if invoice.status == 'void' then
    return {'ok', at, '', {id, flat(invoice)}}
end
if invoice.payment then
    end_earlier(invoice.payment, id, 'void')
end
invoice.status, invoice.payment = 'void', nil
redis.call('HSET', key('invoice', id), 'status', 'void')
append('invoice.voided', id)
return keep(operation, fingerprint, kept_ms, {'ok', at, '', {id, flat(invoice)}})
