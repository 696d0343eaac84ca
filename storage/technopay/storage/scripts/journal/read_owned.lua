-- read_owned(user_ids, record_ids...) no-writes
--
-- Read the payments, invoices and wallets among these that belong to one of these users.
--
-- user_ids  separated by spaces
--
-- Returns {code, now, '', [view or {record, fields}, '' if it is missing or another user's, {id} if it is
-- unreadable]}, in the order of the ids

local is_owner = {}
for user_id in string.gmatch(user_ids, '%S+') do
    is_owner[user_id] = true
end
local KINDS = {inv_ = 'invoice', wal_ = 'wallet', pay_ = 'payment'}
local function read_one(id)
    local kind = KINDS[string.sub(id, 1, 4)]
    if not kind or not is_owner[fields(kind, id, 'user')] then
        return ''
    elseif kind == 'payment' then
        return view(id)
    end
    return {id, flat(kind == 'invoice' and read_invoice(id) or read(kind, id))}
end

return {'ok', at, '', read_each(record_ids, read_one)}
