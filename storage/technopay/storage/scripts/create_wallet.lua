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
if not read('user', user_id) then
    return {'user_not_found', int(now), ''}
end
local wallet = {user = user_id, currency = currency, balance = '0', status = 'active', created_at = int(now)}
redis.call('HSET', key('wallet', id), unpack(flat(wallet)))
redis.call('ZADD', key('wallets', user_id), 0, id)
append('wallet.created', 'wallet', id)
return keep(operation, fingerprint, kept_ms, {'ok', int(now), '', {id, flat(wallet)}})
