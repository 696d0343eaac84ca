-- message: which entries of the journal cause a message, and what the message needs.

-- The kind of a message about an address. Its record is written with its entry, because it has the address: `to`.
local ADDRESS_CHANGED = 'user.address_changed'
local MESSAGE_KEPT_MS = 72 * 3600 * 1000

-- The fields of an entry about a payment, by name.
local function read_entry(entry)
    local entry_fields = {type = entry[2][1], payment = entry[2][2]}
    for i = 3, #entry[2], 2 do
        entry_fields[entry[2][i]] = entry[2][i + 1]
    end
    entry_fields.at = entry_fields.at or string.match(entry[1], '^%d+')
    return entry_fields
end

-- The kind of message that an entry causes, or nil.
local function message_kind(entry_fields)
    -- A user who canceled needs no message; only a void invoice cancels without the user's knowledge.
    if entry_fields.type == 'payment.canceled' and entry_fields.by ~= 'void' then
        return nil
    end
    return MESSAGE_KINDS[entry_fields.type]
end

-- What the text of a message says beside its context: why something failed, or how much of a payment went back.
local function message_reason(entry_fields)
    return entry_fields.type == 'payment.partially_refunded' and entry_fields.amount or entry_fields.reason or ''
end

-- The context of a message, packed: id, user, amount, currency, merchant and status of the payment; method, version and
-- key of its code; e-mail and phone. '' if there is no such payment.
local function message_context(id)
    local user, amount, currency, merchant, status =
        fields('payment', id, 'user', 'amount', 'currency', 'merchant', 'status')
    if not user then
        return ''
    end
    local code = WAITED[status] and read_code(id) or {}
    if status == 'requires_confirmation' and now >= tonumber(code.expires_at) then
        status = 'expired'
    end
    local email, phone, address_version = fields('user', user, 'email', 'phone', 'address_version')
    -- The code for an earlier address is no longer current.
    local version = is_of_addresses(code, address_version) and code.version or ''
    return pack({id, user, amount, currency, merchant, status, code.method or '', version, code.key or '',
        email or '', phone or ''}, merchant .. (email or '') .. (phone or ''))
end

-- The context of a message about an address, which gets it.
local function address_context(user, to)
    return pack({'', user, '0', '', '', '', '', '', '', to, to}, to)
end

-- {message, {name, value, ...}, {email, phone}} of a message without a record: it was delivered at once. nil for an
-- entry that causes no message or whose time is over.
local function delivered(entry)
    local entry_fields = read_entry(entry)
    local kind = message_kind(entry_fields)
    if not kind or tonumber(entry_fields.at) <= now - MESSAGE_KEPT_MS then
        return nil
    end
    local user = fields('payment', entry_fields.payment, 'user')
    if not user then
        return nil
    end
    local email, phone = fields('user', user, 'email', 'phone')
    local channel = entry_fields.method or (email and 'email' or 'sms')
    local message = {'user', user, 'channel', channel, 'kind', kind, 'payment', entry_fields.payment,
        'status', 'sent', 'attempts', '1', 'last_error', '', 'at', entry_fields.at}
    return {entry[1], message, {email, phone}}
end
