-- search_wallets(user_id, status, cursor, limit, archived...) no-writes
--
-- List wallets, newest first; '' for no filter. See shared/search.lua.
--
-- cursor  the last journal entry of the page before, or the last wallet of a user's; '' for the first page
--
-- Returns {code, now, '', [{wallet, fields}], next cursor, [journal entry of each]}, {wallet} for an unreadable one

local function matching(id)
    local wallet = read('wallet', id)
    if wallet and (status == '' or wallet.status == status) then
        return {id, flat(wallet)}
    end
    return nil
end

if user_id == '' then
    local wallets, next_cursor, places = search_journal('wallet.created', cursor, limit, archived, matching)
    return {'ok', at, '', wallets, next_cursor, places}
end
local ids, wallets = wallets_of(user_id), {}
for i = #ids, 1, -1 do
    if cursor == '' or before(ids[i], cursor) then
        if #wallets == tonumber(limit) then
            return {'ok', at, '', wallets, wallets[#wallets][1], {}}
        end
        add_matching(wallets, {}, ids[i], '', matching)
    end
end
return {'ok', at, '', wallets, '', {}}
