-- record_attempt(keys=[journal], args=[message, claim, fate, failure, retry_ms])
--
-- Write down another attempt at a message; for `fate` see shared/fate.lua.
--
-- Returns {code, now, ''}: 'ok', or 'fenced' for an old claim.
--@include base
--@include finishing
--@include challenge
--@include pack
--@include message
--@include record
--@include fate

local id, claim, fate, failure, retry_ms = unpack(ARGV, 1, 5)

local message = read('message', id)
if message and message.recorded == claim then
    return {'ok', at, ''}
elseif not message or message.claim ~= claim or message.status ~= 'waiting' then
    return {'fenced', at, ''}
end
require_integer(message.attempts)
exempt_from_memory_limit()
local status, attempts, due_ms = judge(fate, message.user, retry_ms)
redis.call('HSET', key('message', id), 'status', status, 'last_error', failure, 'at', at,
    'recorded', claim)
redis.call('HINCRBY', key('message', id), 'attempts', attempts)
redis.call('ZADD', key('agenda'), int(now + due_ms), 'msg_' .. id)
return {'ok', at, ''}
