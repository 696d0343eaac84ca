-- take_due(limit) allow-oom
--
-- Take the due members of the agenda. Expiries and removals are done here; settlements and messages are claimed for the
-- caller.
--
-- Returns {code, now, '', [{view, claim, id and amount of the refund}], [{message, kind, channel, attempts, claim,
-- code version, reason, context}], due_at of the next or '', [members whose work spans partitions], [unreadable members
-- of the agenda]}

-- The longest delay of active work: a payment that is set aside waits for five minutes.
local LEFT_ALONE_MS = 330000
local BATCH = 100
local UNREADABLE_MS = 300000
local REAPED = {failed = true, canceled = true, expired = true, sent = true, dead = true, stale = true}
local agenda = key('agenda')
local payments, messages, unfinished, unreadable = {}, {}, {}, {}

local function claim(kind, id, member)
    redis.call('ZADD', agenda, int(now + CLAIM_MS), member)
    return int(redis.call('HINCRBY', key(kind, id), 'claim', 1))
end

local function take_payment(id)
    local user, invoice, status, refund, amount =
        fields('payment', id, 'user', 'invoice', 'status', 'refund', 'refund_amount')
    if status == 'requires_confirmation' and shown_status(id, status) == 'expired' then
        end_unconfirmed(id, invoice, 'expired')
    elseif status == 'requires_confirmation' then
        redis.call('ZADD', agenda, read_code(id).expires_at, id)
    elseif status == 'processing' or status == 'refunding' then
        local payment = view(id)
        payments[#payments + 1] = {payment, claim('payment', id, id), refund or '', amount or ''}
    else
        assert(REAPED[status] or not status and not user, 'an unknown status')
        if user then
            redis.call('ZREM', key('payments', user), id)
        end
        redis.call('DEL', key('payment', id), key('code', id))
        redis.call('ZREM', agenda, id)
    end
end

local function take_message(member)
    local id = string.sub(member, 5)
    local status, kind, channel, attempts, payment, user, to = fields('message', id,
        'status', 'kind', 'channel', 'attempts', 'payment', 'user', 'to')
    if status == 'waiting' then
        local entry_fields = read_entry(redis.call('XRANGE', journal, id, id)[1])
        assert(kind == (to and ADDRESS_CHANGED or message_kind(entry_fields)) and (channel == 'email' or channel == 'sms')
            and string.match(attempts, '^%d+$'))
        local is_read, found
        if to then
            is_read, found = pcall(address_context, user, to)
        else
            is_read, found = pcall(message_context, payment)
        end
        messages[#messages + 1] = {id, kind, channel, attempts, claim('message', id, member),
            entry_fields.issue or '', message_reason(entry_fields), is_read and found or {payment}}
    else
        assert(REAPED[status] or not status and not kind, 'an unknown status')
        redis.call('DEL', key('message', id))
        redis.call('ZREM', agenda, member)
    end
end

local function take(member)
    local kind = string.sub(member, 1, 4)
    if kind == 'pay_' then
        take_payment(member)
    elseif kind == 'msg_' then
        take_message(member)
    elseif kind == 'lim_' or kind == 'ref_' or kind == 'whk_' then
        unfinished[#unfinished + 1] = member
        redis.call('ZADD', agenda, int(now + SPREAD_MS), member)
    elseif kind == 'dlv_' then
        delete_delivery(string.match(member, '^dlv_([^:]+):(.+)$'))
    elseif kind == 'whd_' then
        redis.call('DEL', key('webhook', string.sub(member, 5)))
        redis.call('ZREM', agenda, member)
    elseif kind == 'quo_' then
        redis.call('DEL', key('quota', string.sub(member, 5)))
        redis.call('ZREM', agenda, member)
    else
        assert(string.sub(kind, 1, 3) == 'op_', 'an unknown kind of member')
        redis.call('DEL', key('operation', string.sub(member, 4)))
        redis.call('ZREM', agenda, member)
    end
end

-- Take a member. An unreadable one is put off, so that it does not block the others; an unreadable message is dead.
local function take_if_readable(member, take_it)
    if pcall(take_it, member) then
        return
    end
    unreadable[#unreadable + 1] = member
    local put_off_ms = UNREADABLE_MS
    if string.sub(member, 1, 4) == 'msg_' then
        put_off_ms = MESSAGE_KEPT_MS
        redis.pcall('HSET', key('message', string.sub(member, 5)), 'status', 'dead', 'at', at,
            'last_error', 'the record cannot be read')
    end
    redis.call('ZADD', agenda, int(now + put_off_ms), member)
end

for _, member in ipairs(redis.call('ZRANGEBYSCORE', agenda, '-inf', at, 'LIMIT', 0, limit)) do
    take_if_readable(member, take)
end

-- After the clock went back, active work is due later than the longest delay allows. So while the clock is behind the
-- journal, that part of the agenda is checked, too, one random batch per call.
local function overdue_after_clock_jump()
    local newest = redis.call('XREVRANGE', journal, '+', '-', 'COUNT', 1)[1]
    local written_at = newest and tonumber(string.match(newest[1], '^%d+')) or 0
    if written_at <= now then
        return {}
    end
    local first, last = '(' .. int(now + LEFT_ALONE_MS), int(written_at + LEFT_ALONE_MS)
    local batches = math.ceil(redis.call('ZCOUNT', agenda, first, last) / BATCH)
    if batches == 0 then
        return {}
    end
    local batch = tonumber(at) % batches
    return redis.call('ZRANGEBYSCORE', agenda, first, last, 'LIMIT', batch * BATCH, BATCH)
end

local function take_overdue_after_clock_jump(member)
    if string.sub(member, 1, 4) == 'msg_' then
        if fields('message', string.sub(member, 5), 'status') == 'waiting' then
            take_message(member)
        end
    else
        -- Other members have no such record.
        local status = fields('payment', member, 'status')
        if status == 'processing' or status == 'refunding' then
            take_payment(member)
        end
    end
end

for _, member in ipairs(overdue_after_clock_jump()) do
    take_if_readable(member, take_overdue_after_clock_jump)
end
local coming = redis.call('ZRANGE', agenda, 0, 0, 'WITHSCORES')
return {'ok', at, '', payments, messages, coming[2] or '', unfinished, unreadable}
