-- create_invoice(operation_id, fingerprint, kept_ms, invoice_id, user_id, amount, currency, merchant, description, reference, expires_at) recorded
--
-- Create an invoice; '' for no description or no reference.
--
-- It takes over the reference of an invoice that is void or expired unpaid. The old invoice stays expired for good:
-- otherwise both could be paid after the clock went back.
--
-- Returns {code, now, '', {invoice, fields}, details}; 'expiry_past' if it has expired already.

require_amount(amount, 1)

if tonumber(expires_at) <= now then
    return {'expiry_past', at, ''}
elseif not exists('user', user_id) then
    return {'user_not_found', at, ''}
end
-- The length keeps ('ab', 'c') and ('a', 'bc') apart.
local referred = #merchant .. ':' .. merchant .. reference
local holder = reference ~= '' and redis.call('HGET', key('references'), referred)
if holder then
    local status, expired_at, payment = fields('invoice', holder, 'status', 'expires_at', 'payment')
    local is_due = status == 'open' and now >= tonumber(expired_at)
    local unpaid = not payment or fields('payment', payment, 'status') == 'requires_confirmation'
    if not (status == 'void' or status == 'expired' or is_due and unpaid) then
        return {'reference_used', at, '', '', {'invoice_id', holder}}
    end
    if is_due then
        redis.call('ZCARD', key('invoices', user_id)) -- it has to be a sorted set before anything is written
        if payment then
            end_unconfirmed(payment, holder, 'expired')
        end
        redis.call('HSET', key('invoice', holder), 'status', 'expired')
        append('invoice.expired', holder)
    end
end
redis.call('ZADD', key('invoices', user_id), 0, invoice_id)
if reference ~= '' then
    redis.call('HSET', key('references'), referred, invoice_id)
end
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
redis.call('HSET', key('invoice', invoice_id), unpack(flat(invoice)))
append('invoice.created', invoice_id, 'user', user_id, 'amount', amount, 'currency', currency)
return record_reply(operation_id, fingerprint, kept_ms, {'ok', at, '', {invoice_id, flat(invoice)}})
