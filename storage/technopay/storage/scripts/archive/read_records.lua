-- read_records(record_ids...) no-writes
--
-- Read payments and invoices as they are, at one position of the journal; an invoice with what follows from its payment.
--
-- Returns {code, now, '', position, [{name, value, ...}]}, no fields for one that does not exist

local function read_one(id)
    if string.sub(id, 1, 4) == 'pay_' then
        return redis.call('HGETALL', key('payment', id))
    end
    return flat(read_invoice(id))
end

return {'ok', at, '', position(), read_each(record_ids, read_one)}
