-- create_wallet(operation_id, fingerprint, kept_ms, wallet_id, user_id, currency)
--
-- Open an active wallet with nothing in it.
--
-- Returns {code, now, '', {wallet, fields}}

local answered = earlier(operation_id, fingerprint)
if answered then
    return answered
end
if not exists('user', user_id) then
    return {'user_not_found', at, ''}
end
local wallet = {'user', user_id, 'currency', currency, 'balance', '0', 'ledger', '0', 'status', 'active',
    'created_at', at}
redis.call('HSET', key('user', user_id), wallet_id, '')
redis.call('HSET', key('wallet', wallet_id), unpack(wallet))
append('wallet.created', wallet_id, 'user', user_id, 'currency', currency)
return remember(operation_id, fingerprint, kept_ms, {'ok', at, '', {wallet_id, wallet}})
