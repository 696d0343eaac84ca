-- create_invoice(operation_id, fingerprint, kept_ms, invoice_id, user_id, amount, currency, merchant, description, reference, expires_at, metadata, digest) recorded
--
-- Create an invoice; '' for no description, no reference or no metadata.
--
-- On a store of several partitions the reference was reserved before, see shared/reference.lua. For its digest see
-- shared/used_references.lua.
--
-- Returns {code, now, '', {invoice, fields}, details}; 'expiry_past' if it has expired already, 'called_off' if the
-- reservation was given up, 'reference_archived' if an invoice that left the store used it.

require_amount(amount, 1)

local refusal = creation_refusal(user_id, expires_at)
if refusal then
    return {refusal, at, ''}
end
if reference ~= '' and not is_partitioned then
    redis.call('ZCARD', key('invoices', user_id)) -- it has to be a sorted set before anything is written
    local referred = referred_as(merchant, reference)
    local holder = redis.call('HGET', key('references'), referred)
    if holder and not frees_reference(holder) then
        return {'reference_used', at, '', '', {'invoice_id', holder}}
    elseif not holder and is_used(digest) then
        return {'reference_archived', at, ''}
    end
    redis.call('HSET', key('references'), referred, invoice_id)
end
redis.call('ZADD', key('invoices', user_id), 0, invoice_id)
local invoice = {
    user = user_id, amount = amount, currency = currency, merchant = merchant, status = 'open',
    expires_at = expires_at, created_at = at,
}
if description ~= '' then
    invoice.description = description
end
if reference ~= '' then
    invoice.reference = reference
end
if metadata ~= '' then
    invoice.metadata = metadata
end
redis.call('HSET', key('invoice', invoice_id), unpack(flat(invoice)))
append('invoice.created', invoice_id, 'user', user_id, 'amount', amount, 'currency', currency)
return record_reply(operation_id, fingerprint, kept_ms, {'ok', at, '', {invoice_id, flat(invoice)}})
