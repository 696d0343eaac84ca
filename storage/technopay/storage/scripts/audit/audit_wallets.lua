-- audit_wallets(record_ids...) no-writes
--
-- Read whole wallets and what they have to agree with, at one position of the journal.
--
-- Returns {code, now, '', position, [{fields, how many entries, whether its user has it, its deposits by
-- reference}], {id} for an unreadable one}

local function read_one(id)
    local wallet = read('wallet', id)
    local listed = wallet and wallet.user and redis.call('HEXISTS', key('user', wallet.user), id) or 0
    return {flat(wallet), redis.call('LLEN', key('entries', id)), listed, flat(read('deposits', id))}
end

return {'ok', at, '', position(), read_each(record_ids, read_one)}
