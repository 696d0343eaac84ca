-- read_owned(keys=[journal], args=[users, ids...])
--
-- Read the payments and invoices among these that belong to one of some users.
--
-- users  with spaces between them
--
-- Returns {code, now, '', [view or {invoice, fields}, '' for what is not there or somebody else's]}, in the order asked
--@include base
--@include payment
--@include record
--@include invoice

local is_asked_for = {}
for user_id in string.gmatch(ARGV[1], '%S+') do
    is_asked_for[user_id] = true
end
local records = {}
for i = 2, #ARGV do
    local id = ARGV[i]
    local kind = string.sub(id, 1, 4) == 'inv_' and 'invoice' or 'payment'
    if not is_asked_for[fields(kind, id, 'user')] then
        records[i - 1] = ''
    elseif kind == 'payment' then
        records[i - 1] = view(id)
    else
        records[i - 1] = {id, flat(read_invoice(id))}
    end
end
return {'ok', at, '', records}
