-- webhook: which events a partition collects for a webhook, and how their deliveries wait.
--
-- The first partition keeps all webhooks: `webhooks` has the epoch of each one, and `version`, which counts all changes;
-- `endpoint` has the rest. Every partition has for each webhook
--
-- webhook     epoch, status, merchant and types as last noted, cursor in the journal, how many deliveries wait
-- delivery    by webhook and journal entry: type, subject, version and time of the event; while it can be sent, the subject
--             as it was when the event was read; claim, attempts, status, last answer, next_at
-- deliveries  index of a webhook's deliveries, one for each status
-- queue       by webhook and subject: the entries that wait, in order; only the first one is sent
-- due         by webhook: the subjects with a queue, by the time when the first one is due

-- Of one webhook in one partition: more events stay in the journal.
local WAITING_MAX = 1000
local DELIVERED_MAX = 1000
local DELIVERED_KEPT_MS = 72 * 3600 * 1000
local DEAD_KEPT_MS = 30 * 24 * 3600 * 1000
local DELIVERY_STATUSES = {'waiting', 'dead', 'delivered'}

local function delivery_name(webhook_id, entry_id)
    return webhook_id .. ':' .. entry_id
end

-- An entry as a member of an index, in the order of entries.
local function index_name(entry_id)
    local ms, number = string.match(entry_id, '^(%d+)-(%d+)$')
    return string.rep('0', 15 - #ms) .. ms .. '-' .. string.rep('0', 9 - #number) .. number
end

local function entry_of(member)
    return (string.gsub(string.gsub(member, '^0+(%d)', '%1'), '-0+(%d)', '-%1'))
end

-- The index of a webhook's deliveries of a status.
local function index_of(webhook_id, status)
    if status == 'waiting' then
        return key('deliveries:waiting', webhook_id)
    end
    return status == 'dead' and key('deliveries:dead', webhook_id) or key('deliveries:delivered', webhook_id)
end

-- Let a delivery wait in the queue of its subject, in the order of entries.
local function enqueue(webhook_id, subject, entry_id)
    redis.call('ZADD', index_of(webhook_id, 'waiting'), 0, index_name(entry_id))
    local queue = key('queue', delivery_name(webhook_id, subject))
    local name, behind = index_name(entry_id), nil
    local last = redis.call('LINDEX', queue, -1)
    -- Almost always it is the last one; only an entry that is sent again has its place before others.
    for _, waiting in ipairs(last and before(name, index_name(last)) and redis.call('LRANGE', queue, 0, -1) or {}) do
        if before(name, index_name(waiting)) then
            behind = waiting
            break
        end
    end
    if behind then
        redis.call('LINSERT', queue, 'BEFORE', behind, entry_id)
    else
        redis.call('RPUSH', queue, entry_id)
    end
    redis.call('ZADD', key('due', webhook_id), 'NX', at, subject)
end

-- Take a delivery out of its queue for good, and keep it for a while: the next one of the subject is due.
local function dequeue(webhook_id, subject, entry_id, status, kept_ms)
    local queue = key('queue', delivery_name(webhook_id, subject))
    redis.call('ZREM', index_of(webhook_id, 'waiting'), index_name(entry_id))
    redis.call('ZADD', index_of(webhook_id, status), 0, index_name(entry_id))
    redis.call('ZADD', key('agenda'), int(now + kept_ms), 'dlv_' .. delivery_name(webhook_id, entry_id))
    redis.call('LREM', queue, 0, entry_id)
    if redis.call('LLEN', queue) > 0 then
        redis.call('ZADD', key('due', webhook_id), at, subject)
    else
        redis.call('ZREM', key('due', webhook_id), subject)
    end
    redis.call('HINCRBY', key('webhook', webhook_id), 'waiting', -1)
end

-- Let a dead delivery wait again, with all its attempts.
local function revive(webhook_id, entry_id, subject)
    local name = delivery_name(webhook_id, entry_id)
    redis.call('HSET', key('delivery', name), 'status', 'waiting', 'attempts', '0', 'next_at', at)
    redis.call('HDEL', key('delivery', name), 'first_at')
    redis.call('ZREM', index_of(webhook_id, 'dead'), index_name(entry_id))
    redis.call('ZREM', key('agenda'), 'dlv_' .. name)
    redis.call('HINCRBY', key('webhook', webhook_id), 'waiting', 1)
    enqueue(webhook_id, subject, entry_id)
end

-- Delete a delivery; one that waits only together with its queue.
local function delete_delivery(webhook_id, entry_id)
    local name = delivery_name(webhook_id, entry_id)
    redis.call('DEL', key('delivery', name))
    for _, status in ipairs(DELIVERY_STATUSES) do
        redis.call('ZREM', index_of(webhook_id, status), index_name(entry_id))
    end
    redis.call('ZREM', key('agenda'), 'dlv_' .. name)
end

-- {entry, fields} of a delivery as it is listed, nil for a missing one.
local function read_delivery(webhook_id, entry_id)
    local delivery = read('delivery', delivery_name(webhook_id, entry_id))
    if not delivery then
        return nil
    end
    delivery.record = nil
    return {entry_id, flat(delivery)}
end
