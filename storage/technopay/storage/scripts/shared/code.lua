-- code: the state of a payment's code, a record of its own that is removed when the code has done its work.
--
-- method, version, attempts and resends: how the code was sent, its number, how often an answer can still be wrong and
-- the code still be sent again; expires_at and payable_until: when it and the invoice expire; wrong_calls: the operations
-- that brought a wrong code, with commas between them; key: the id of the key that the codes are derived from. A code of
-- an earlier version can lack it: that one belongs to the first key of the store.

-- The state of a code, or nil; all of its values are text.
local function read_code(payment_id)
    local code = redis.call('GET', key('code', payment_id))
    return code and cjson.decode(code)
end

local function write_code(payment_id, code)
    redis.call('SET', key('code', payment_id), cjson.encode(code))
end

-- The status of a payment as it is shown: past its code's expiry it is expired, before the agenda says so.
local function shown_status(payment_id, status)
    if status == 'requires_confirmation' and now >= tonumber(read_code(payment_id).expires_at) then
        return 'expired'
    end
    return status
end

-- Write down that a code has to be sent. The entry names the method where it is not the one that messages take.
local function append_code(type, payment_id, method, email, code_version, version)
    if method == 'sms' and email then
        append(type, payment_id, 'version', version, 'issue', code_version, 'method', method)
    else
        append(type, payment_id, 'version', version, 'issue', code_version)
    end
end
