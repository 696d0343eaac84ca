-- wallets: the wallets of a user. They are fields of the user, so that an idle user is one small hash.

local function wallets_of(user_id)
    local ids = {}
    for _, field in ipairs(redis.call('HKEYS', key('user', user_id))) do
        if string.sub(field, 1, 4) == 'wal_' then
            ids[#ids + 1] = field
        end
    end
    table.sort(ids, before)
    return ids
end
