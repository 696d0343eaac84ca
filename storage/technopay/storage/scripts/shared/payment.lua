-- payment: how a payment is shown, and how its changes are counted.
--
-- A payment has its own copy of the terms (user, amount, currency, merchant). They never change, so no script reads the
-- invoice for them.

-- The version of the next change of a payment. Each journal entry of the payment is one; the first is 1.
local function next_version(version)
    require_integer(version)
    return int(version + 1)
end

-- A packed payment: id, e-mail, phone, then its fields in the order of PAYMENT_VIEW. `values` has those before the
-- limits; the varargs are the state of its code and the rest, without empty ones at the end.
local function pack_view(values, counters, ...)
    local n = #values
    for _, counter in ipairs(counters) do
        values[n + 1], values[n + 2], values[n + 3] =
            counter.period, counter.limit or '', counter.limit and shown_used(counter) or ''
        n = n + 3
    end
    for i = 1, select('#', ...) do
        values[n + i] = select(i, ...)
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
