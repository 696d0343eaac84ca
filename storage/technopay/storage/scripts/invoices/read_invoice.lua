-- read_invoice(invoice_id, user_id) no-writes
--
-- Read an invoice; with a user, only one that belongs to that user.
--
-- Returns {code, now, '', {invoice, fields}}

if not is_shown_to(user_id, 'invoice', invoice_id) then
    return {'invoice_not_found', at, ''}
end
return {'ok', at, '', {invoice_id, flat(read_invoice(invoice_id))}}
