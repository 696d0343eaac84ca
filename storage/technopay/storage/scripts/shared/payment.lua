-- payment: how a payment is shown, and how its changes are counted.
--
-- A payment carries its own terms (user, amount, currency, merchant), which are what was confirmed and never
-- change: no script has to read its invoice to work on it.

-- The version of the next change of a payment: each of its entries in the journal is one, the first is 1.
local function next_version(version)
    require_integer(version)
    return int(version + 1)
end

-- A payment packed: id, e-mail, phone, then the values of PAYMENT_VIEW in their order. `payment` has them by name.
local function pack_view(id, payment, email, phone)
    local values = {id, email or '', phone or ''}
    for i, name in ipairs(PAYMENT_VIEW) do
        values[i + 3] = payment[name] or ''
    end
    return pack(values, values[2] .. values[3] .. payment.merchant .. (payment.resolution_note or '') .. (payment.resolution_by or ''))
end

-- A payment that exists, as it is now.
local function view(id)
    local payment = named('payment', id, PAYMENT_VIEW)
    local email, phone
    if payment.code_method then
        email, phone = fields('user', payment.user, 'email', 'phone')
    end
    return pack_view(id, payment, email, phone)
end
