-- create_wallet(keys=[journal], args=[operation, fingerprint, kept_ms, wallet, user, currency])
--
-- Open an active wallet with nothing in it.
--
-- Returns {code, now, '', {wallet, fields}}
--@include base
--@include operation

local operation, fingerprint, kept_ms, id, user_id, currency = unpack(ARGV, 1, 6)

local answered = earlier(operation, fingerprint)
if answered then
    return answered
end
if not exists('user', user_id) then
    return {'user_not_found', at, ''}
end
local wallet = {'user', user_id, 'currency', currency, 'balance', '0', 'ledger', '0', 'status', 'active',
    'created_at', at}
redis.call('HSET', key('user', user_id), id, '')
redis.call('HSET', key('wallet', id), unpack(wallet))
append('wallet.created', id, 'user', user_id, 'currency', currency)
return keep(operation, fingerprint, kept_ms, {'ok', at, '', {id, wallet}})
