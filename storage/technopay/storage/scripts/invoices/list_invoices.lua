-- list_invoices(user_id, cursor, limit, archived...) no-writes
--
-- List a user's invoices, newest first; see shared/page.lua.
--
-- Returns {code, now, '', [{invoice, fields}], next cursor}, {invoice} for an unreadable one

local function read_one(id)
    return {id, flat(read_invoice(id))}
end

return {'ok', at, '', list(key('invoices', user_id), 'invoice', cursor, limit, archived, read_one)}
