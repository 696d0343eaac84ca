-- call_off_invoice(operation_id, fingerprint, invoice_id)
--
-- Make sure that an invoice whose reference was reserved is not created from now on, unless it is there.
--
-- Returns {code, now, ''}: 'ok', or 'done' when it was created

if exists('invoice', invoice_id) then
    return {'done', at, ''}
elseif exists('operation', operation_id) then
    return {'ok', at, ''}
end
record_reply(operation_id, fingerprint, CALLED_OFF_MS, {CALLED_OFF, at, ''})
return {'ok', at, ''}
