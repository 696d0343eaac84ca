-- set_wallet_status(operation_id, fingerprint, kept_ms, wallet_id, status, owner, token, keep) recorded
--
-- Set the status of a wallet, 'active' or 'inactive'.
--
-- Returns {code, now, token, {wallet, fields}}

local wallet = read('wallet', wallet_id)
if not wallet then
    return {'wallet_not_found', at, ''}
end
local refusal = lease_refusal(wallet, owner, token)
if refusal then
    return {refusal, at, ''}
end
local new_token = close_lease(wallet_id, wallet, owner, keep)
-- A reply after which nothing changed is not recorded: later, the same call may have an effect.
if wallet.status == status then
    return {'ok', at, new_token, {wallet_id, flat(wallet)}}
end
wallet.status = status
redis.call('HSET', key('wallet', wallet_id), 'status', status)
append('wallet.' .. status, wallet_id)
return record_reply(operation_id, fingerprint, kept_ms, {'ok', at, new_token, {wallet_id, flat(wallet)}})
