-- take_due(keys=[journal], args=[count])
--
-- Take what the agenda says is due. What needs only the store is done here (expiries, reaping);
-- settlements and messages are claimed and handed out.
--
-- Returns {code, now, '', [{view, claim}], [{message, kind, channel, attempts, claim, issue, reason, parcel}], due_at of the next or '', how many are set aside}
--@include base
--@include payment
--@include challenge
--@include unconfirmed
--@include message

local agenda = key('agenda')
local payments, messages = {}, {}

local function claim(kind, id, member)
    redis.call('ZADD', agenda, int(now + CLAIM_MS), member)
    return int(redis.call('HINCRBY', key(kind, id), 'claim', 1))
end

local function take_payment(id)
    local user, invoice, status, challenge = fields('payment', id, 'user', 'invoice', 'status', 'challenge')
    if status == 'requires_confirmation' and is_expired(challenge) then
        end_unconfirmed(id, invoice, 'expired')
    elseif status == 'requires_confirmation' then
        local _, _, _, _, expires_at = unpack_challenge(challenge)
        redis.call('ZADD', agenda, expires_at, id)
    elseif status == 'processing' or status == 'refunding' then
        local token = claim('payment', id, id)
        payments[#payments + 1] = {view(id), token}
    else
        if user then
            redis.call('ZREM', key('payments', user), id)
        end
        redis.call('DEL', key('payment', id))
        redis.call('ZREM', agenda, id)
    end
end

local function take_message(member)
    local id = string.sub(member, 5)
    local status, kind, channel, attempts, payment = fields('message', id,
        'status', 'kind', 'channel', 'attempts', 'payment')
    if status == 'waiting' then
        local said = named(redis.call('XRANGE', KEYS[1], id, id)[1])
        messages[#messages + 1] = {id, kind, channel, attempts, claim('message', id, member),
            said.issue or '', said.reason or '', parcel(payment)}
    else
        redis.call('DEL', key('message', id))
        redis.call('ZREM', agenda, member)
    end
end

for _, member in ipairs(redis.call('ZRANGEBYSCORE', agenda, '-inf', at, 'LIMIT', 0, ARGV[1])) do
    local kind = string.sub(member, 1, 4)
    if kind == 'pay_' then
        take_payment(member)
    elseif kind == 'msg_' then
        take_message(member)
    else
        redis.call('DEL', key('operation', string.sub(member, 4)))
        redis.call('ZREM', agenda, member)
    end
end
local coming = redis.call('ZRANGE', agenda, 0, 0, 'WITHSCORES')
return {'ok', at, '', payments, messages, coming[2] or '', redis.call('ZCARD', key('set_aside'))}
