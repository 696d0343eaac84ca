-- payment: how a payment is shown, and how its changes are counted.
--
-- A payment carries its own terms (user, amount, currency, merchant), which are what was confirmed and never
-- change: no script has to read its invoice to work on it.

-- The version of the next change of a payment: each of its entries in the journal is one, the first is 1.
local function next_version(version)
    require_integer(version)
    return int(version + 1)
end

-- A payment packed: id, e-mail, phone, then its fields in the order of PAYMENT_VIEW. `values` has those before the limits;
-- behind them come the state of its code and the rest, of which empty ones at the end are left out.
local function pack_view(values, counters, ...)
    local n = #values
    for _, counter in ipairs(counters) do
        values[n + 1], values[n + 2], values[n + 3] =
            counter.period, counter.limit or '', counter.limit and counter.used or ''
        n = n + 3
    end
    for i = 1, select('#', ...) do
        values[n + i] = select(i, ...)
    end
    return pack(values, values[2] .. values[3] .. values[9])
end

-- A payment that exists, as it is now.
local function view(id)
    local values = redis.call('HMGET', key('payment', id), unpack(PAYMENT_VIEW))
    local code, email, phone = {}, '', ''
    if WAITED[values[7]] then
        code = read_code(id) or {}
        email, phone = fields('user', values[3], 'email', 'phone')
    end
    local shown = {id, email or '', phone or ''}
    for i = 1, #PAYMENT_VIEW do
        shown[#shown + 1] = values[i] or ''
        if i == CODE_VIEW_AT then
            for _, name in ipairs(CODE_VIEW) do
                shown[#shown + 1] = code[name] or ''
            end
        end
    end
    return pack(shown, table.concat(shown))
end
