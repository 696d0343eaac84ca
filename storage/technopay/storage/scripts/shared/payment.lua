-- payment: how a payment is shown, and how its changes are counted.
--
-- A payment has its own copy of the terms (user, amount, currency, merchant). They never change, so no script reads the
-- invoice for them. Metadata, which can be long, are on the invoice only: `metadata` of the payment is '1' if there are any.

-- The version of the next change of a payment. Each journal entry of the payment is one; the first is 1.
local function next_version(version)
    require_integer(version)
    return int(version + 1)
end

-- The metadata of an invoice that has some, as JSON.
local function metadata_of(invoice_id)
    return fields('invoice', invoice_id, 'metadata') or ''
end

-- A packed payment: id, e-mail, phone, then its fields in the order of PAYMENT_VIEW. `values` has those before the
-- limits; the varargs are the state of its code and the rest, without empty ones at the end. `metadata` can be false.
local function pack_view(values, counters, metadata, ...)
    local n = #values
    for _, counter in ipairs(counters) do
        values[n + 1], values[n + 2], values[n + 3] =
            counter.period, counter.limit or '', counter.limit and shown_used(counter) or ''
        n = n + 3
    end
    for i = 1, select('#', ...) do
        values[n + i] = select(i, ...)
    end
    if metadata then
        local last = 3 + #PAYMENT_VIEW + #CODE_VIEW
        for i = #values + 1, last - 1 do
            values[i] = ''
        end
        values[last] = metadata
    end
    return pack(values, values[2] .. values[3] .. values[9])
end

-- The packed view of a payment that exists.
local function view(id)
    local values = redis.call('HMGET', key('payment', id), unpack(PAYMENT_VIEW))
    local code, email, phone = {}, '', ''
    if WAITED[values[7]] then
        code = read_code(id) or {}
        email, phone = fields('user', values[3], 'email', 'phone')
    end
    if values[#PAYMENT_VIEW] then
        values[#PAYMENT_VIEW] = metadata_of(values[1])
    end
    local parts = {id, email or '', phone or ''}
    for i = 1, #PAYMENT_VIEW do
        parts[#parts + 1] = values[i] or ''
        if i == CODE_VIEW_AT then
            for _, name in ipairs(CODE_VIEW) do
                parts[#parts + 1] = code[name] or ''
            end
        end
    end
    return pack(parts, table.concat(parts))
end
