-- message: which entries of the journal a user is told of, and what has to be known to tell it.

local MESSAGE_KEPT_MS = 72 * 3600 * 1000
-- What an entry of the journal says, by name; for entries about payments.
local function entry_fields(entry)
    local said = {type = entry[2][1], payment = entry[2][2]}
    for i = 3, #entry[2], 2 do
        said[entry[2][i]] = entry[2][i + 1]
    end
    said.at = said.at or string.match(entry[1], '^%d+')
    return said
end

-- The kind of message that an entry asks for, or nil. `said` is the entry by name.
local function message_kind(said)
    -- Users know that they canceled; they do not know that the merchant withdrew the invoice.
    if said.type == 'payment.canceled' and said.by ~= 'void' then
        return nil
    end
    return MESSAGE_KINDS[said.type]
end

-- What a message says of a payment and where it goes, packed: id, user, amount, currency, merchant, status, method, version
-- and key of the code, e-mail and phone; '' when there is no such payment.
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
    local email, phone = fields('user', user, 'email', 'phone')
    return pack({id, user, amount, currency, merchant, status, code.method or '', code.version or '', code.key or '',
        email or '', phone or ''}, merchant .. (email or '') .. (phone or ''))
end

-- {message, {name, value, ...}, {email, phone}} of a message that needed no record of its own, because it was
-- delivered at once; nil for an entry that is no message or is not kept any longer.
local function delivered(entry)
    local said = entry_fields(entry)
    local kind = message_kind(said)
    if not kind or tonumber(said.at) <= now - MESSAGE_KEPT_MS then
        return nil
    end
    local user = fields('payment', said.payment, 'user')
    if not user then
        return nil
    end
    local email, phone = fields('user', user, 'email', 'phone')
    local channel = said.method or (email and 'email' or 'sms')
    local message = {'user', user, 'channel', channel, 'kind', kind, 'payment', said.payment,
        'status', 'sent', 'attempts', '1', 'last_error', '', 'at', said.at}
    return {entry[1], message, {email, phone}}
end
