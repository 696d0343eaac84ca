-- lease: one process at a time works on a wallet while commands queue for it.
--
-- The token only grows and survives release, so that a holder that slept is fenced off.

local LEASE_MS = 100

-- Why this owner may not go on now ('busy' or 'fenced'), or nil.
local function lease_refusal(wallet, owner, token)
    local remaining_ms = tonumber(wallet.lease_until or '0') - now
    -- A clock that jumped back must not make a lease longer than it ever was.
    local live = remaining_ms > 0 and remaining_ms <= LEASE_MS
    if live and wallet.lease_owner ~= owner then
        return 'busy'
    end
    if token ~= '' and token ~= (wallet.token or '0') then
        return 'fenced'
    end
    return nil
end

-- Keep the lease for the commands that wait, or give it up; answer the token to come back with.
local function close_lease(wallet_id, wallet, owner, keep_it)
    local wallet_key = key('wallet', wallet_id)
    if keep_it == '1' then
        if wallet.lease_owner ~= owner then
            wallet.token = int(redis.call('HINCRBY', wallet_key, 'token', 1))
        end
        redis.call('HSET', wallet_key, 'lease_owner', owner, 'lease_until', int(now + LEASE_MS))
    elseif wallet.lease_owner == owner then
        redis.call('HDEL', wallet_key, 'lease_owner', 'lease_until')
    end
    return wallet.token or '0'
end
