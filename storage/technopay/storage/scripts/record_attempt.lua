-- record_attempt(keys=[journal], args=[message, claim, status, failure, retry_ms])
--
-- Write down another attempt at a message: 'sent', 'waiting' for the next one, 'dead', or 'stale' when
-- there is nothing to tell any more.
--
-- Returns {code, now, ''}: 'ok', or 'fenced' for an old claim.
--@include base
--@include challenge
--@include message
--@include record

local id, claim, status, failure, retry_ms = unpack(ARGV, 1, 5)

local message = read('message', id)
if message and message.recorded == claim then
    return {'ok', at, ''}
elseif not message or message.claim ~= claim or message.status ~= 'waiting' then
    return {'fenced', at, ''}
end
redis.call('HSET', key('message', id), 'status', status, 'last_error', failure, 'at', at,
    'recorded', claim)
redis.call('HINCRBY', key('message', id), 'attempts', 1)
local due_ms = status == 'waiting' and retry_ms or MESSAGE_KEPT_MS
redis.call('ZADD', key('agenda'), int(now + due_ms), 'msg_' .. id)
return {'ok', at, ''}
