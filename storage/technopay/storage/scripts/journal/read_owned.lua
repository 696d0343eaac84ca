-- read_owned(user_ids, record_ids...) no-writes
--
-- Read the payments and invoices among these that belong to one of these users.
--
-- user_ids  separated by spaces
--
-- Returns {code, now, '', [view or {invoice, fields}, '' if it is missing or another user's, {id} if it is
-- unreadable]}, in the order of the ids

local is_owner = {}
for user_id in string.gmatch(user_ids, '%S+') do
    is_owner[user_id] = true
end
local function read_one(id)
    local kind = string.sub(id, 1, 4) == 'inv_' and 'invoice' or 'payment'
    if not is_owner[fields(kind, id, 'user')] then
        return ''
    end
    return kind == 'payment' and view(id) or {id, flat(read_invoice(id))}
end

return {'ok', at, '', read_each(record_ids, read_one)}
