-- create_wallet(operation_id, fingerprint, kept_ms, wallet_id, user_id, currency) recorded
--
-- Create an active, empty wallet.
--
-- Returns {code, now, '', {wallet, fields}}

if not exists('user', user_id) then
    return {'user_not_found', at, ''}
end
local wallet = {'user', user_id, 'currency', currency, 'balance', '0', 'ledger', '0', 'status', 'active',
    'created_at', at}
redis.call('HSET', key('user', user_id), wallet_id, '')
redis.call('HSET', key('wallet', wallet_id), unpack(wallet))
append('wallet.created', wallet_id, 'user', user_id, 'currency', currency)
return record_reply(operation_id, fingerprint, kept_ms, {'ok', at, '', {wallet_id, wallet}})
