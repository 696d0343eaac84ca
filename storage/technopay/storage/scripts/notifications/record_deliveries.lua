-- record_deliveries(claim, cursor, retry_ms, failed...)
--
-- Move the relay behind a batch of the journal and record the failed messages. A message that was delivered at once
-- needs no record: its journal entry is the record.
--
-- claim     of the relay; an old one changes nothing
-- cursor    the last journal entry of the batch
-- retry_ms  the delay before a failed message is tried again
-- failed    seven each: journal entry, user, channel, kind, payment, fate (see shared/delivery.lua), error
--
-- Returns {code, now, ''}: 'ok' or 'fenced'

local relay_claim, relay_cursor = fields('relay', nil, 'claim', 'cursor')
if relay_claim ~= claim then
    return {'fenced', at, ''}
elseif relay_cursor == cursor then
    return {'ok', at, ''}
end
for i = 1, #failed, 7 do
    local id, user, channel, kind, payment, fate, failure = unpack(failed, i, i + 6)
    local status, attempts, due_ms = attempt_result(fate, user, retry_ms)
    redis.pcall('HSET', key('message', id), 'user', user, 'channel', channel, 'kind', kind,
        'payment', payment, 'status', status, 'attempts', attempts, 'last_error', failure, 'at', at)
    redis.call('ZADD', key('agenda'), int(now + due_ms), 'msg_' .. id)
end
redis.call('HSET', key('relay'), 'cursor', cursor, 'claimed_until', '0')
return {'ok', at, ''}
