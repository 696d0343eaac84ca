-- search_invoices(user_id, merchant, reference, status, cursor, limit, archived...) no-writes
--
-- List invoices of all users, newest first; '' for no filter. See shared/search.lua.
--
-- merchant, reference  both together list the one invoice that has the reference now; of several partitions, only its home
--                      knows which one that is
-- status               as it is shown: an open invoice past its expiry is 'expired'
-- cursor               the last journal entry of the page before, or the last invoice of a user's; '' for the first page
--
-- Returns {code, now, '', [{invoice, fields}], next cursor, [place of each]}, {invoice} for an unreadable one

local is_exact = merchant ~= '' and reference ~= '' and not is_partitioned

local function matching(id)
    local user, payee, own_reference = fields('invoice', id, 'user', 'merchant', 'reference')
    if not user or user_id ~= '' and user ~= user_id
        or not is_exact and (merchant ~= '' and payee ~= merchant or reference ~= '' and own_reference ~= reference) then
        return nil
    end
    local invoice = read_invoice(id)
    local shown = invoice.status
    if shown == 'open' and now >= tonumber(invoice.expires_at) then
        shown = 'expired'
    end
    if status == '' or shown == status then
        return {id, flat(invoice)}
    end
    return nil
end

local invoices, next_cursor, places = {}, '', {}
if is_exact then
    local holder = redis.call('HGET', key('references'), referred_as(merchant, reference)) or archived[1]
    if holder then
        add_matching(invoices, places, holder, holder, matching)
    end
elseif user_id ~= '' then
    invoices, next_cursor, places = search_index(key('invoices', user_id), cursor, limit, archived, matching)
else
    invoices, next_cursor, places = search_journal('invoice.created', cursor, limit, archived, matching)
end
return {'ok', at, '', invoices, next_cursor, places}
