-- renew_claims(keys=[journal], args=[keep, claims...])
--
-- Renew claims while their work goes on; with keep '0' give them up.
--
-- claims  three each: 'payment', 'message' or 'relay', its id, the token
--
-- Returns {code, now, '', [1 or 0]}: which are still current, in the order asked
--@include base
--@include finishing
--@include claim

local keep = ARGV[1]
local WORK = {processing = true, refunding = true, waiting = true}

local function renew(kind, id, claim)
    if kind == 'relay' then
        local current, claimed_until = fields('relay', nil, 'claim', 'claimed_until')
        if current ~= claim or claimed_until == '0' then
            return 0
        end
        redis.call('HSET', key('relay'), 'claimed_until', keep == '1' and int(now + RELAY_MS) or '0')
        return 1
    end
    local current, status, recorded = fields(kind, id, 'claim', 'status', 'recorded')
    if current ~= claim or recorded == claim or not WORK[status] then
        return 0
    end
    local member = kind == 'message' and 'msg_' .. id or id
    redis.call('ZADD', key('agenda'), keep == '1' and int(now + CLAIM_MS) or at, member)
    return 1
end

exempt_from_memory_limit()
local current = {}
for i = 2, #ARGV, 3 do
    -- A record that cannot be read must not cost others their claims.
    local is_read, answer = pcall(renew, ARGV[i], ARGV[i + 1], ARGV[i + 2])
    current[#current + 1] = is_read and answer or 0
end
return {'ok', at, '', current}
