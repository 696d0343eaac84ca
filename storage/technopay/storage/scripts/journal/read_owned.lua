-- read_owned(user_ids, record_ids...) no-writes
--
-- Read the payments and invoices among these that belong to one of some users.
--
-- user_ids  with spaces between them
--
-- Returns {code, now, '', [view or {invoice, fields}, '' for what is not there or somebody else's, {id} for what cannot be
-- read]}, in the order asked

local is_asked_for = {}
for user_id in string.gmatch(user_ids, '%S+') do
    is_asked_for[user_id] = true
end
local function read_one(id)
    local kind = string.sub(id, 1, 4) == 'inv_' and 'invoice' or 'payment'
    if not is_asked_for[fields(kind, id, 'user')] then
        return ''
    end
    return kind == 'payment' and view(id) or {id, flat(read_invoice(id))}
end

return {'ok', at, '', read_each(record_ids, read_one)}
