-- read_owned(keys=[journal], args=[users, ids...])
--
-- Read the payments and invoices among these that belong to one of some users.
--
-- users  with spaces between them
--
-- Returns {code, now, '', [view or {invoice, fields}, '' for what is not there or somebody else's, {id} for what cannot be
-- read]}, in the order asked
--@include base
--@include each
--@include pack
--@include payment
--@include record
--@include invoice

local is_asked_for = {}
for user_id in string.gmatch(ARGV[1], '%S+') do
    is_asked_for[user_id] = true
end
local function read_one(id)
    local kind = string.sub(id, 1, 4) == 'inv_' and 'invoice' or 'payment'
    if not is_asked_for[fields(kind, id, 'user')] then
        return ''
    end
    return kind == 'payment' and view(id) or {id, flat(read_invoice(id))}
end

return {'ok', at, '', read_each({unpack(ARGV, 2)}, read_one)}
