-- take_deliveries(rooms...)
--
-- Collect the events of webhooks from the journal, then claim the deliveries that are due. A delivery is written with its
-- subject as it is now, before it is sent for the first time: so every attempt sends the same body.
--
-- rooms  two each: webhook, how many of its deliveries the caller can take
--
-- Returns {code, now, '', [{webhook, epoch, entry, type, version, time of the event, when it was read, claim, attempts,
-- subject as JSON}], whether the journal has more, due_at of the next or ''}

-- Entries that are read, and deliveries that are written, by one call: all scripts wait for it.
local READ_MAX, WRITTEN_MAX = 250, 250
-- After the clock went back, a retry is due later than the longest delay allows.
local RETRY_MS_MAX = 8 * 3600 * 1000

local written, has_more, next_at = 0, 0, nil
local claimed, batches, records = {}, {}, {}

local function entries_after(cursor)
    batches[cursor] = batches[cursor] or redis.call('XRANGE', journal, '(' .. cursor, '+', 'COUNT', READ_MAX)
    return batches[cursor]
end

-- The JSON of a subject, '' for an unreadable one.
local function record_of(subject, read_subject)
    if not records[subject] then
        local is_read, record = pcall(read_subject, subject)
        records[subject] = is_read and cjson.encode(record) or ''
    end
    return records[subject]
end

local function is_wanted(webhook, type)
    return EVENT_TYPES[type]
        and (webhook.types == '' or string.find(' ' .. webhook.types .. ' ', ' ' .. type .. ' ', 1, true))
end

-- Write the delivery of an entry; return whether there is one. A payment that is gone has no events any more.
local function collect(id, webhook, entry)
    local subject = entry[2][2]
    local form = SUBJECTS[string.sub(subject, 1, 4)]
    if not form then
        return false
    end
    -- An unreadable record must not stop the others: its delivery ends as dead.
    local is_read, user, merchant = pcall(fields, form.kind, subject, 'user', 'merchant')
    if not is_read then
        user, merchant = '', webhook.merchant
    end
    if not user or webhook.merchant ~= '' and merchant ~= webhook.merchant then
        return false
    end
    local entry_fields = read_entry(entry)
    redis.call('HSET', key('delivery', delivery_name(id, entry[1])), 'type', entry_fields.type, 'subject', subject,
        'version', entry_fields.version or '', 'at', entry_fields.at, 'read_at', at, 'status', 'waiting', 'attempts', '0',
        'next_at', at, 'record', record_of(subject, form.read))
    enqueue(id, subject, entry[1])
    return true
end

local function collect_all(id, webhook)
    local waiting = tonumber(webhook.waiting)
    if waiting >= WAITING_MAX or written >= WRITTEN_MAX then
        has_more = waiting < WAITING_MAX and 1 or has_more
        return
    end
    local entries, cursor = entries_after(webhook.cursor), webhook.cursor
    for _, entry in ipairs(entries) do
        if waiting >= WAITING_MAX or written >= WRITTEN_MAX then
            break
        end
        cursor = entry[1]
        if is_wanted(webhook, entry[2][1]) and collect(id, webhook, entry) then
            waiting, written = waiting + 1, written + 1
        end
    end
    if cursor ~= webhook.cursor then
        redis.call('HSET', key('webhook', id), 'cursor', cursor, 'waiting', int(waiting))
    end
    if waiting < WAITING_MAX and (#entries == READ_MAX or written >= WRITTEN_MAX) then
        has_more = 1
    end
end

local function claim(id, webhook, subject)
    local entry_id = redis.call('LINDEX', key('queue', delivery_name(id, subject)), 0)
    local name = entry_id and delivery_name(id, entry_id)
    local type, version, happened_at, read_at, attempts, record, status = fields('delivery', name or '',
        'type', 'version', 'at', 'read_at', 'attempts', 'record', 'status')
    if status ~= 'waiting' then
        redis.call('ZREM', key('due', id), subject)
        return
    end
    redis.call('ZADD', key('due', id), int(now + CLAIM_MS), subject)
    redis.call('HSETNX', key('delivery', name), 'first_at', at)
    claimed[#claimed + 1] = {id, webhook.epoch, entry_id, type, version, happened_at, read_at,
        int(redis.call('HINCRBY', key('delivery', name), 'claim', 1)), attempts, record}
end

local function claim_all(id, webhook, room)
    local due, limit = key('due', id), tonumber(room)
    local subjects = redis.call('ZRANGEBYSCORE', due, '-inf', at, 'LIMIT', 0, limit)
    if #subjects < limit then
        local late = redis.call('ZRANGEBYSCORE', due, '(' .. int(now + RETRY_MS_MAX), '+inf', 'LIMIT', 0, limit - #subjects)
        for _, subject in ipairs(late) do
            subjects[#subjects + 1] = subject
        end
    end
    for _, subject in ipairs(subjects) do
        claim(id, webhook, subject)
    end
    if #subjects < limit then
        local first = redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')[2]
        if first and (not next_at or tonumber(first) < next_at) then
            next_at = tonumber(first)
        end
    end
end

for i = 1, #rooms, 2 do
    local id, webhook = rooms[i], read('webhook', rooms[i])
    if webhook and webhook.status == 'active' then
        collect_all(id, webhook)
        claim_all(id, webhook, rooms[i + 1])
    end
end
return {'ok', at, '', claimed, has_more, next_at and int(next_at) or ''}
