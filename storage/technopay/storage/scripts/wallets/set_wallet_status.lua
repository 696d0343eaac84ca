-- set_wallet_status(operation_id, fingerprint, kept_ms, wallet_id, status, owner, token, keep)
--
-- Make a wallet 'active' or 'inactive'; if it is already, nothing changes.
--
-- Returns {code, now, token, {wallet, fields}}

local answered = earlier(operation_id, fingerprint)
if answered then
    return answered
end
local wallet = read('wallet', wallet_id)
if not wallet then
    return {'wallet_not_found', at, ''}
end
local held = lease_refusal(wallet, owner, token)
if held then
    return {held, at, ''}
end
local closed = close_lease(wallet_id, wallet, owner, keep)
-- An answer that changed nothing is not kept: later, the same call may have something to do.
if wallet.status == status then
    return {'ok', at, closed, {wallet_id, flat(wallet)}}
end
wallet.status = status
redis.call('HSET', key('wallet', wallet_id), 'status', status)
append('wallet.' .. status, wallet_id)
return remember(operation_id, fingerprint, kept_ms, {'ok', at, closed, {wallet_id, flat(wallet)}})
