-- claim_relay(owner)
--
-- Claim the relay if the journal has entries after its cursor; otherwise nothing is written.
--
-- Returns {code, now, claim, last entry relayed}: 'nothing', or 'busy' while another process relays

local cursor, relay_owner, claimed_until = fields('relay', nil, 'cursor', 'owner', 'claimed_until')
local remaining_ms = (tonumber(claimed_until or '') or 0) - now
if remaining_ms > 0 and remaining_ms <= RELAY_MS and relay_owner ~= owner then
    return {'busy', at, ''}
end
cursor = cursor or '0-0'
if #redis.call('XRANGE', journal, '(' .. cursor, '+', 'COUNT', 1) == 0 then
    return {'nothing', at, ''}
end
local claim = int(redis.call('HINCRBY', key('relay'), 'claim', 1))
redis.call('HSET', key('relay'), 'owner', owner, 'claimed_until', int(now + RELAY_MS))
return {'ok', at, claim, cursor}
