-- take_due(keys=[journal], args=[count])
--
-- Take what the agenda says is due. What needs only the store is done here (expiries, reaping);
-- settlements and messages are claimed and handed out.
--
-- Returns {code, now, '', [{view, claim}], [{message, fields, journal entry}], due_at of the next or ''}
--@include base
--@include payment

local agenda = key('agenda')
local payments, messages = {}, {}

local function claim(kind, id, fields, member)
    fields.claim = int(redis.call('HINCRBY', key(kind, id), 'claim', 1))
    redis.call('ZADD', agenda, int(now + CLAIM_MS), member)
end

local function take_payment(id)
    local payment = read('payment', id)
    if not payment then
        redis.call('ZREM', agenda, id)
        return
    end
    local invoice = read('invoice', payment.invoice)
    if payment.status == 'requires_confirmation' and is_expired(payment) then
        end_unconfirmed(id, payment, 'expired')
    elseif payment.status == 'requires_confirmation' then
        redis.call('ZADD', agenda, payment.expires_at, id)
    elseif payment.status == 'processing' or payment.status == 'refunding' then
        claim('payment', id, payment, id)
        payments[#payments + 1] = {view(id, payment, invoice), payment.claim}
    else
        redis.call('DEL', key('payment', id))
        redis.call('ZREM', key('payments', invoice.user), id)
        redis.call('ZREM', agenda, id)
    end
end

local function take_message(member)
    local id = string.sub(member, 5)
    local message = read('message', id)
    if message and message.status == 'waiting' then
        claim('message', id, message, member)
        messages[#messages + 1] = {id, flat(message), redis.call('XRANGE', KEYS[1], id, id)[1]}
    else
        redis.call('DEL', key('message', id))
        redis.call('ZREM', agenda, member)
    end
end

for _, member in ipairs(redis.call('ZRANGEBYSCORE', agenda, '-inf', int(now), 'LIMIT', 0, ARGV[1])) do
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
return {'ok', int(now), '', payments, messages, coming[2] or ''}
