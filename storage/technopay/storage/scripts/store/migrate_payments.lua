-- migrate_payments(payment_ids...)
--
-- Give payments of schema 5 what schema 6 has: a version each, counters by name, a record for the state of a code, an id
-- and an amount for a refund under way, and a list of refunds.
--
-- Returns {code, now, '', [id of a payment that cannot be read]}

-- Up to schema 5 the versions that payments usually have were left out.
local VERSIONS = {requires_confirmation = '1', processing = '2', succeeded = '3'}

-- The fields of the counter that was '<day> <limit> <used> <resets_at>', or only '<day>' without a limit.
local function counter_of(packed)
    local day, limit, used = string.match(packed, '^(%d+%-%d+%-%d+) (%d+) (%d+) %d+$')
    if day then
        return 'global_period', day, 'global_limit', limit, 'global_used', used
    end
    assert(string.find(packed, '^%d+%-%d+%-%d+$'), 'a day that can be read')
    return 'global_period', packed
end

local function code_of(packed)
    local method, code_version, attempts, resends, expires_at, payable_until, wrong_calls, code_key =
        string.match(packed, '^(%a+) (%d+) (%d+) (%d+) (%d+) (%d+) (%S*) ?(%S*)$')
    assert(method, 'a code that can be read')
    return {
        method = method, version = code_version, attempts = attempts, resends = resends, expires_at = expires_at,
        payable_until = payable_until, wrong_calls = wrong_calls ~= '' and wrong_calls or nil,
        key = code_key ~= '' and code_key or nil,
    }
end

local function migrate(id)
    local status, version, limit, challenge, amount, refunded_at, refund_id =
        fields('payment', id, 'status', 'version', 'limit', 'challenge', 'amount', 'refunded_at', 'refund')
    if not limit and not challenge then
        return -- it was migrated, or is gone
    end
    assert(status and limit and amount, 'a payment that can be read')
    local changed = {'version', version or assert(VERSIONS[status], 'a status with a version'), counter_of(limit)}
    if WAITED[status] then
        write_code(id, code_of(challenge or ''))
    end
    if refunded_at then
        local refunds = cjson.encode({{amount = amount, at = refunded_at}})
        redis.call('HSET', key('payment', id), 'refunds', refunds)
    elseif status == 'refunding' then
        -- Refunds of schema 4 have no id.
        local given_id = refund_id or 'ref_' .. string.sub(id, 5)
        redis.call('HSET', key('payment', id), 'refund', given_id, 'refund_amount', amount)
    end
    redis.call('HSET', key('payment', id), unpack(changed))
    redis.call('HDEL', key('payment', id), 'limit', 'challenge', 'refunded_at', 'refund_reason')
end

local unreadable = {}
for _, id in ipairs(payment_ids) do
    if not pcall(migrate, id) then
        unreadable[#unreadable + 1] = id
    end
end
return {'ok', at, '', unreadable}
