-- read_records(record_ids...) no-writes
--
-- Read payments and invoices as they are, at one position of the journal; an invoice with what follows from its payment.
--
-- Returns {code, now, '', position, [{name, value, ...}]}, no fields for one that does not exist

local function read_one(id)
    return flat(string.sub(id, 1, 4) == 'inv_' and read_invoice(id) or read('payment', id))
end

return {'ok', at, '', position(), read_each(record_ids, read_one)}
