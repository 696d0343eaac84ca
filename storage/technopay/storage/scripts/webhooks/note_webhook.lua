-- note_webhook(webhook_id, epoch, status, merchant, types)
--
-- Note a webhook in this partition: a new one gets the events from now on. An older epoch changes nothing. A deleted one
-- leaves nothing behind but its epoch for a while, so that a late copy of an earlier call does not bring it back.
--
-- Returns {code, now, ''}: 'ok'; 'more' while records of a deleted one are left

local BATCH = 200
local FORGOTTEN_MS = 3600 * 1000

-- Delete a batch of the records of a webhook; return whether there may be more.
local function delete_batch()
    local left = 0
    for _, each in ipairs(DELIVERY_STATUSES) do
        for _, member in ipairs(redis.call('ZRANGE', index_of(webhook_id, each), 0, BATCH - 1)) do
            delete_delivery(webhook_id, entry_of(member))
        end
        left = left + redis.call('ZCARD', index_of(webhook_id, each))
    end
    local subjects = redis.call('ZRANGE', key('due', webhook_id), 0, BATCH - 1)
    for _, subject in ipairs(subjects) do
        redis.call('DEL', key('queue', delivery_name(webhook_id, subject)))
        redis.call('ZREM', key('due', webhook_id), subject)
    end
    return left + redis.call('ZCARD', key('due', webhook_id)) > 0
end

local known, cursor, earlier = fields('webhook', webhook_id, 'epoch', 'cursor', 'status')
if tonumber(known or '0') > tonumber(epoch) then
    return {'ok', at, ''}
end
if status == 'deleted' then
    redis.call('DEL', key('webhook', webhook_id))
    redis.call('HSET', key('webhook', webhook_id), 'epoch', epoch, 'status', status)
    redis.call('ZADD', key('agenda'), 'NX', int(now + FORGOTTEN_MS), 'whd_' .. webhook_id)
    return {delete_batch() and 'more' or 'ok', at, ''}
end
redis.call('HSET', key('webhook', webhook_id), 'epoch', epoch, 'status', status, 'merchant', merchant, 'types', types,
    'cursor', cursor or position())
if status == 'active' and earlier ~= status then
    redis.call('HSET', key('webhook', webhook_id), 'active_since', at)
end
if not cursor then
    redis.call('HSET', key('webhook', webhook_id), 'waiting', '0')
end
return {'ok', at, ''}
