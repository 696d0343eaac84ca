-- search_payments(status, user_id, invoice_id, set_aside, created_from, created_to, cursor, limit, archived...) no-writes
--
-- List payments of all users, newest first; '' for no filter. See shared/search.lua.
--
-- status        as it is shown: an unconfirmed payment past its expiry is 'expired'
-- set_aside     '1' lists their index; else a user or an invoice lists the payments of that user, and without both the
--               journal is read backwards
-- created_from  the earliest time of creation; created_to: the time before which it was
-- cursor        the last payment or journal entry of the page before, '' for the first page
--
-- Returns {code, now, '', [view], next cursor, [place of each]}, {payment} for an unreadable one

local function matching(id)
    local user, invoice, state, is_set_aside, created_at =
        fields('payment', id, 'user', 'invoice', 'status', 'set_aside', 'created_at')
    if user and (status == '' or shown_status(id, state) == status) and (user_id == '' or user == user_id)
        and (invoice_id == '' or invoice == invoice_id)
        and (set_aside == '' or set_aside == (is_set_aside and '1' or '0'))
        and (created_from == '' or tonumber(created_at) >= tonumber(created_from))
        and (created_to == '' or tonumber(created_at) < tonumber(created_to)) then
        return view(id)
    end
    return nil
end

local owner = user_id
if invoice_id ~= '' then
    -- Only the user of an invoice can pay it.
    owner = fields('invoice', invoice_id, 'user') or ''
    if owner == '' or user_id ~= '' and owner ~= user_id then
        return {'ok', at, '', {}, '', {}}
    end
end
local views, next_cursor, places
if set_aside == '1' then
    views, next_cursor, places = search_index(key('set_aside'), cursor, limit, {}, matching)
elseif owner ~= '' then
    views, next_cursor, places = search_index(key('payments', owner), cursor, limit, archived, matching)
else
    views, next_cursor, places =
        search_journal('payment.started', cursor, limit, archived, matching, created_from, created_to)
end
return {'ok', at, '', views, next_cursor, places}
