-- lease: one process at a time works on a wallet while commands queue for it.
--
-- The token grows with every change of owner and survives a release, as the owner's name does: so a former holder is
-- fenced off. `wallet` needs lease_owner, lease_until and token.

local LEASE_MS = 100

-- 'busy' or 'fenced' if this owner may not proceed, else nil.
local function lease_refusal(wallet, owner, token)
    local remaining_ms = tonumber(wallet.lease_until or '0') - now
    if wallet.token then
        require_integer(wallet.token)
    end
    -- A clock that jumped back must not make a lease longer than it ever was.
    local is_live = remaining_ms > 0 and remaining_ms <= LEASE_MS
    if is_live and wallet.lease_owner ~= owner then
        return 'busy'
    end
    if token ~= '' and token ~= (wallet.token or '0') then
        return 'fenced'
    end
    return nil
end

local function raise_token(wallet_id)
    return int(redis.call('HINCRBY', key('wallet', wallet_id), 'token', 1))
end

-- Keep the lease for the waiting commands, or release it; return the token for the next command.
local function close_lease(wallet_id, wallet, owner, keep_it)
    local token, is_own = wallet.token or '0', wallet.lease_owner == owner
    if keep_it == '1' then
        local remaining_ms = tonumber(wallet.lease_until or '0') - now
        if not is_own then
            token = raise_token(wallet_id)
        elseif remaining_ms > LEASE_MS / 2 and remaining_ms <= LEASE_MS then
            -- Half of the lease is enough for the next command, which renews it.
            return token
        end
        redis.call('HSET', key('wallet', wallet_id), 'lease_owner', owner, 'lease_until', int(now + LEASE_MS))
    elseif is_own and wallet.lease_until then
        redis.call('HDEL', key('wallet', wallet_id), 'lease_until')
    elseif wallet.lease_owner and not is_own then
        -- The owner may have sent more commands under the current token: none of them may take effect any more.
        token = raise_token(wallet_id)
        redis.call('HDEL', key('wallet', wallet_id), 'lease_owner', 'lease_until')
    end
    return token
end
