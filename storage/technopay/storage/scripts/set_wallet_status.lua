-- set_wallet_status(keys=[journal], args=[operation, fingerprint, kept_ms, owner, token, keep_it, wallet, status])
--
-- Make a wallet 'active' or 'inactive'; if it is already, nothing changes.
--
-- Returns {code, now, token, {wallet, fields}}
--@include base
--@include operation
--@include record
--@include lease

local operation, fingerprint, kept_ms, owner, token, keep_it, id, status = unpack(ARGV, 1, 8)

local answered = earlier(operation, fingerprint)
if answered then
    return answered
end
local wallet = read('wallet', id)
if not wallet then
    return {'wallet_not_found', at, ''}
end
local held = lease_refusal(wallet, owner, token)
if held then
    return {held, at, ''}
end
local closed = close_lease(id, wallet, owner, keep_it)
-- An answer that changed nothing is not kept: later, the same call may have something to do.
if wallet.status == status then
    return {'ok', at, closed, {id, flat(wallet)}}
end
wallet.status = status
redis.call('HSET', key('wallet', id), 'status', status)
append('wallet.' .. status, id)
return keep(operation, fingerprint, kept_ms, {'ok', at, closed, {id, flat(wallet)}})
