-- operation: the recorded reply to a call, which a repeat of the call gets again.
--
-- An operation with an empty fingerprint has no record of its own.

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
    reply[1] = 'replayed'
    return reply
end

local function record_reply(operation_id, fingerprint, kept_ms, reply)
    if fingerprint ~= '' then
        redis.call('HSET', key('operation', operation_id), 'fingerprint', fingerprint, 'reply', cjson.encode(reply))
        redis.call('ZADD', key('agenda'), int(now + kept_ms), 'op_' .. operation_id)
    end
    return reply
end
