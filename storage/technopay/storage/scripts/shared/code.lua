-- code: the entry of the journal that asks for a code to be sent.

-- Write down that a code has to be sent. The entry names the method where it is not the one that messages take.
local function append_code(type, id, method, email, issue, ...)
    if method == 'sms' and email then
        append(type, id, 'issue', issue, 'method', method, ...)
    else
        append(type, id, 'issue', issue, ...)
    end
end
