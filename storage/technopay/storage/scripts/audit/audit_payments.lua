-- audit_payments(record_ids...) no-writes
--
-- Read whole payments and what they have to agree with, at one position of the journal.
--
-- Returns {code, now, '', position, [{fields, on the agenda, set aside, whether its user has it, its fields in
-- the mock service's book, fields of its invoice, fields of its code}], {id} for an unreadable one}

local function has(sorted_set, id)
    return redis.call('ZSCORE', sorted_set, id) and 1 or 0
end

local function read_one(id)
    local payment = read('payment', id) or {}
    return {
        flat(payment), has(key('agenda'), id), has(key('set_aside'), id),
        payment.user and has(key('payments', payment.user), id) or 0,
        flat(read('mock:settlement', id)),
        flat(payment.invoice and read('invoice', payment.invoice)),
        flat(read_code(id)),
    }
end

return {'ok', at, '', position(), read_each(record_ids, read_one)}
