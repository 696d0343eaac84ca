-- void_invoice(operation_id, fingerprint, kept_ms, invoice_id) recorded
--
-- Withdraw an invoice. Its payment is canceled if it waits for its code, and the user gets a message.
--
-- Returns {code, now, '', {invoice, fields}, details}; details: the view of the blocking `payment`

local invoice = read_invoice(invoice_id)
if not invoice then
    return {'invoice_not_found', at, ''}
end
if invoice.status == 'processing' or invoice.status == 'paid' then
    return {'invoice_not_voidable', at, '', {invoice_id, flat(invoice)}, {'payment', view(invoice.payment)}}
end
if invoice.status == 'void' then
    return {'ok', at, '', {invoice_id, flat(invoice)}}
end
if invoice.payment then
    end_earlier(invoice.payment, invoice_id, 'void')
end
invoice.status, invoice.payment = 'void', nil
redis.call('HSET', key('invoice', invoice_id), 'status', 'void')
append('invoice.voided', invoice_id)
return record_reply(operation_id, fingerprint, kept_ms, {'ok', at, '', {invoice_id, flat(invoice)}})
