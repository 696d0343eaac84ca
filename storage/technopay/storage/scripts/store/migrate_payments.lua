-- migrate_payments(payment_ids...)
--
-- Give payments of schema 5 what schema 6 has: a version each, counters by name, and a record for the state of a code.
--
-- Returns {code, now, '', [id of a payment that cannot be read]}

local VERSIONS = {requires_confirmation = '1', processing = '2', succeeded = '3'}

local function migrate(id)
    local status, version, limit, challenge = fields('payment', id, 'status', 'version', 'limit', 'challenge')
    if not status or not (limit or challenge or not version) then
        return
    end
    local changed = {'version', version or assert(VERSIONS[status], 'a status with a version')}
    if limit then
        local day, most, used = string.match(limit, '^(%S+) (%d+) (%d+) %d+$')
        changed[3], changed[4] = 'global_period', day or limit
        if day then
            changed[5], changed[6], changed[7], changed[8] = 'global_limit', most, 'global_used', used
        end
    end
    local code
    if challenge and challenge ~= '' then
        local method, code_version, attempts, resends, expires_at, payable_until, wrong_calls, code_key =
            string.match(challenge, '^(%a+) (%d+) (%d+) (%d+) (%d+) (%d+) (%S*) ?(%S*)$')
        assert(method, 'a code that can be read')
        code = {
            method = method, version = code_version, attempts = attempts, resends = resends,
            expires_at = expires_at, payable_until = payable_until,
            wrong_calls = wrong_calls ~= '' and wrong_calls or nil, key = code_key ~= '' and code_key or nil,
        }
    end
    if code then
        write_code(id, code)
    end
    redis.call('HSET', key('payment', id), unpack(changed))
    redis.call('HDEL', key('payment', id), 'limit', 'challenge')
end

local unreadable = {}
for _, id in ipairs(payment_ids) do
    if not pcall(migrate, id) then
        unreadable[#unreadable + 1] = id
    end
end
return {'ok', at, '', unreadable}
