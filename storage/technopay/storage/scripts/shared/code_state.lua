-- code_state: the state of a payment's code, a record of its own that ends with the confirmation.
--
-- method, version     how the code was sent, and its number
-- attempts, resends   how many wrong answers and how many resends are left
-- expires_at          when the code expires; payable_until: when the invoice does
-- wrong_calls         the operations with a wrong code, comma-separated
-- key                 the id of the key of the codes; without one, they belong to the store's first key
-- addresses           the version of the user's addresses when the code was sent; without one, they were never changed.
--                     A code that was sent before a change is dead, until a resend.

-- The state of a code, or nil; all of its values are text.
local function read_code(payment_id)
    local code = redis.call('GET', key('code', payment_id))
    return code and cjson.decode(code)
end

local function write_code(payment_id, code)
    redis.call('SET', key('code', payment_id), cjson.encode(code))
end

-- Whether the addresses of the user are those for which a code was made; `address_version` as the user has it.
local function is_of_addresses(code, address_version)
    return (code.addresses or '0') == (address_version or '0')
end

-- The status of a payment as it is shown: expired when its code has expired, even before the agenda ends it.
local function shown_status(payment_id, status)
    if status == 'requires_confirmation' and now >= tonumber(read_code(payment_id).expires_at) then
        return 'expired'
    end
    return status
end

-- Request that a code is sent. The entry names the method if it is not the default one of messages.
local function append_code(type, payment_id, method, email, code_version, version)
    if method == 'sms' and email then
        append(type, payment_id, 'version', version, 'issue', code_version, 'method', method)
    else
        append(type, payment_id, 'version', version, 'issue', code_version)
    end
end
