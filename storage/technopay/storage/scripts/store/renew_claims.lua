-- renew_claims(keep, claims...) allow-oom
--
-- Renew claims; with keep '0' give them up.
--
-- claims  three each: 'payment', 'message' or 'relay', its id, the token
--
-- Returns {code, now, '', [1 or 0]}: which are current, in the order of the claims

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

local current = {}
for i = 1, #claims, 3 do
    -- An unreadable record must not cost the others their claims.
    local is_read, is_current = pcall(renew, claims[i], claims[i + 1], claims[i + 2])
    current[#current + 1] = is_read and is_current or 0
end
return {'ok', at, '', current}
