-- audit_wallets(keys=[journal], args=[ids...])
--
-- Read wallets whole, with what has to agree with them, at one position of the journal.
--
-- Returns {code, now, '', position, [{fields, how many entries, whether its user has it}], {id} for what cannot be read}
--@include base
--@include each
--@include record
--@include position

local function read_one(id)
    local wallet = read('wallet', id)
    local listed = wallet and wallet.user and redis.call('HEXISTS', key('user', wallet.user), id) or 0
    return {flat(wallet), redis.call('LLEN', key('entries', id)), listed}
end

return {'ok', at, '', position(), read_each(ARGV, read_one)}
