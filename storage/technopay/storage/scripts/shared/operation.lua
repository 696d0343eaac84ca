-- operation: the recorded reply to a call, which a repeat of the call gets again.
--
-- An operation with an empty fingerprint has no record of its own.

-- The recorded reply to a call that must not have an effect any more, and how long it is kept.
local CALLED_OFF = 'called_off'
local CALLED_OFF_MS = 72 * 3600 * 1000

local function recorded_reply(operation_id, fingerprint)
    if fingerprint == '' then
        return nil
    end
    local kept = redis.call('HMGET', key('operation', operation_id), 'fingerprint', 'reply')
    if not kept[1] then
        return nil
    end
    if kept[1] ~= fingerprint then
        return {'idempotency_key_reused', at, ''}
    end
    local reply = cjson.decode(kept[2])
    if reply[1] ~= CALLED_OFF then
        reply[1] = 'replayed'
    end
    return reply
end

local function record_reply(operation_id, fingerprint, kept_ms, reply)
    if fingerprint ~= '' then
        redis.call('HSET', key('operation', operation_id), 'fingerprint', fingerprint, 'reply', cjson.encode(reply))
        redis.call('ZADD', key('agenda'), int(now + kept_ms), 'op_' .. operation_id)
    end
    return reply
end
