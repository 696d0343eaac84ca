-- code: the state of a payment's code, in fields of the payment that are removed when the code has done its work.
--
-- code_method, code_version, code_attempts and code_resends: how the code was sent, its number, how often an answer can
-- still be wrong and the code still be sent again; code_expires_at and payable_until: when it and the invoice expire;
-- wrong_calls: the operations that brought a wrong code, with commas between them; code_key: the id of the key that the
-- codes are derived from. A payment of an earlier version can lack the key: it belongs to the first key of the store.

local CODE_FIELDS = {
    'code_method', 'code_version', 'code_attempts', 'code_resends', 'code_expires_at', 'code_key', 'wrong_calls',
    'payable_until',
}

-- A payment past its code's expiry is expired, before the agenda says so.
local function is_expired(code_expires_at)
    return now >= tonumber(code_expires_at)
end

-- Write down that a code has to be sent. The entry names the method where it is not the one that messages take.
local function append_code(type, id, method, email, code_version, version)
    if method == 'sms' and email then
        append(type, id, 'version', version, 'issue', code_version, 'method', method)
    else
        append(type, id, 'version', version, 'issue', code_version)
    end
end
