-- read_references(invoice_ids...) no-writes
--
-- Read merchant and reference of invoices, the parts of the key of a reference.
--
-- Returns {code, now, '', [{merchant, reference}]}: {} for an invoice without a reference, or with one that is keyed by
-- another name already (`referred`); {id} for what cannot be read

local function read_one(id)
    local merchant, reference, referred = fields('invoice', id, 'merchant', 'reference', 'referred')
    return merchant and reference and not referred and {merchant, reference} or {}
end

return {'ok', at, '', read_each(invoice_ids, read_one)}
