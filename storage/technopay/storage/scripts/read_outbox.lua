-- read_outbox(keys=[journal], args=[owner, count])
--
-- Claim the relay and read the journal from where the last delivery ended. Nothing is written if nothing came.
--
-- Returns {code, now, claim, [journal entry]}: 'busy' while another process relays.
--@include base

-- A stretch is delivered within the two seconds that a first attempt has; who is late is fenced off.
local RELAY_MS = 4000
local owner, count = unpack(ARGV, 1, 2)

local relay = read('relay') or {}
local remaining_ms = tonumber(relay.claimed_until or '0') - now
if remaining_ms > 0 and remaining_ms <= RELAY_MS and relay.owner ~= owner then
    return {'busy', int(now), ''}
end
local entries = redis.call('XRANGE', KEYS[1], '(' .. (relay.cursor or '0-0'), '+', 'COUNT', count)
if #entries == 0 then
    return {'ok', int(now), '', {}}
end
local claim = int(redis.call('HINCRBY', key('relay'), 'claim', 1))
redis.call('HSET', key('relay'), 'owner', owner, 'claimed_until', int(now + RELAY_MS))
return {'ok', int(now), claim, entries}
