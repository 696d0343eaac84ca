-- record_deliveries(keys=[journal], args=[claim, cursor, retry_ms, deliveries...])
--
-- Write down what became of the messages of a stretch of the journal, and go on behind it.
--
-- claim       of the relay; an old one changes nothing
-- cursor      the last journal entry of the stretch
-- retry_ms    after how long one that failed is tried again
-- deliveries  six each: journal entry, user, channel, kind, payment, error ('' when it was delivered)
--
-- Returns {code, now, ''}: 'ok' or 'fenced'
--@include base

local MESSAGE_KEPT_MS = 72 * 3600 * 1000
local claim, cursor, retry_ms = unpack(ARGV, 1, 3)

local relay = read('relay')
if not relay or relay.claim ~= claim then
    return {'fenced', int(now), ''}
elseif relay.cursor == cursor then
    return {'ok', int(now), ''}
end
for i = 4, #ARGV, 6 do
    local id, user, channel, kind, payment, failure = unpack(ARGV, i, i + 5)
    redis.call('XADD', key('messages'), 'MINID', '~', int(now - MESSAGE_KEPT_MS), id,
        'user', user, 'channel', channel, 'kind', kind, 'payment', payment, 'at', int(now))
    if failure ~= '' then
        redis.call('HSET', key('message', id), 'user', user, 'channel', channel, 'kind', kind,
            'payment', payment, 'status', 'waiting', 'attempts', '1', 'last_error', failure, 'at', int(now))
        redis.call('ZADD', key('agenda'), int(now + retry_ms), 'msg_' .. id)
    end
end
redis.call('HSET', key('relay'), 'cursor', cursor, 'claimed_until', '0')
return {'ok', int(now), ''}
