-- record_delivery(webhook_id, entry_id, claim, fate, last_status, last_answer, retry_ms) allow-oom
--
-- Record an attempt: delivered, failed or dead. A failed one is tried again after `retry_ms`, for 72 hours from the first
-- one on, or since the webhook became active again; then it is dead.
--
-- Returns {code, now, ''}: 'ok', or 'fenced' for an old claim

local RETRIED_MS = 72 * 3600 * 1000
local name = delivery_name(webhook_id, entry_id)
local subject, status, current, recorded, first_at =
    fields('delivery', name, 'subject', 'status', 'claim', 'recorded', 'first_at')
if recorded == claim then
    return {'ok', at, ''}
elseif current ~= claim or status ~= 'waiting' then
    return {'fenced', at, ''}
end
local active_since = fields('webhook', webhook_id, 'active_since') or '0'
if fate == 'failed' and now + retry_ms > math.max(tonumber(first_at), tonumber(active_since)) + RETRIED_MS then
    fate = 'dead'
end
redis.call('HINCRBY', key('delivery', name), 'attempts', 1)
redis.call('HSET', key('delivery', name), 'recorded', claim, 'last_status', last_status, 'last_answer', last_answer)
if fate == 'failed' then
    local next_at = int(now + retry_ms)
    redis.call('HSET', key('delivery', name), 'next_at', next_at)
    redis.call('ZADD', key('due', webhook_id), next_at, subject)
    return {'ok', at, ''}
end
redis.call('HSET', key('delivery', name), 'status', fate)
redis.call('HDEL', key('delivery', name), 'next_at')
dequeue(webhook_id, subject, entry_id, fate, fate == 'dead' and DEAD_KEPT_MS or DELIVERED_KEPT_MS)
if fate == 'delivered' then
    redis.call('HDEL', key('delivery', name), 'record', 'first_at', 'read_at')
    local index = index_of(webhook_id, fate)
    if redis.call('ZCARD', index) > DELIVERED_MAX then
        delete_delivery(webhook_id, entry_of(redis.call('ZRANGE', index, 0, 0)[1]))
    end
end
return {'ok', at, ''}
