-- audit_invoices(record_ids...) no-writes
--
-- Read whole invoices and what they have to agree with, at one position of the journal.
--
-- Returns {code, now, '', position, [{fields, whether its user has it, invoice of its reference, fields of its
-- payment}], {id} for an unreadable one}

local function read_one(id)
    local invoice = read('invoice', id) or {}
    local listed = invoice.user and redis.call('ZSCORE', key('invoices', invoice.user), id) and 1 or 0
    local referred = ''
    if invoice.reference and invoice.merchant then
        local name = invoice.referred or #invoice.merchant .. ':' .. invoice.merchant .. invoice.reference
        -- On a store of several partitions the reference is kept elsewhere.
        referred = is_partitioned and id or redis.call('HGET', key('references'), name) or ''
    end
    return {flat(invoice), listed, referred, flat(invoice.payment and read('payment', invoice.payment))}
end

return {'ok', at, '', position(), read_each(record_ids, read_one)}
