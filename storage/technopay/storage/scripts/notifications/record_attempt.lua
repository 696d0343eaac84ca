-- record_attempt(entry_id, claim, fate, error, retry_ms) allow-oom
--
-- Record another attempt at a message; for `fate` see shared/delivery.lua.
--
-- Returns {code, now, ''}: 'ok', or 'fenced' for an old claim.

local message = read('message', entry_id)
if message and message.recorded == claim then
    return {'ok', at, ''}
elseif not message or message.claim ~= claim or message.status ~= 'waiting' then
    return {'fenced', at, ''}
end
require_integer(message.attempts)
local status, attempts, due_ms = attempt_result(fate, message.user, retry_ms)
redis.call('HSET', key('message', entry_id), 'status', status, 'last_error', error, 'at', at,
    'recorded', claim)
redis.call('HINCRBY', key('message', entry_id), 'attempts', attempts)
redis.call('ZADD', key('agenda'), int(now + due_ms), 'msg_' .. entry_id)
return {'ok', at, ''}
