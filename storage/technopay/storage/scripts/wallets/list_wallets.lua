-- list_wallets(user_id, cursor, limit) no-writes
--
-- List a user's wallets, newest first.
--
-- cursor  the last wallet of the page before, '' for the first page
--
-- Returns {code, now, '', [{wallet, fields}], next cursor}, {wallet} for an unreadable one

local ids, wallets = wallets_of(user_id), {}
for i = #ids, 1, -1 do
    if cursor == '' or before(ids[i], cursor) then
        if #wallets == tonumber(limit) then
            return {'ok', at, '', wallets, wallets[#wallets][1]}
        end
        local is_read, wallet = pcall(redis.call, 'HGETALL', key('wallet', ids[i]))
        wallets[#wallets + 1] = {ids[i], is_read and wallet or nil}
    end
end
return {'ok', at, '', wallets, ''}
