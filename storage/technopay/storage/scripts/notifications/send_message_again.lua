-- send_message_again(operation_id, fingerprint, kept_ms, entry_id) recorded
--
-- Make a dead message due now, with all its attempts. A message that is not dead is not changed.
--
-- Returns {code, now, '', {message, fields, {email, phone}}}

local message = read('message', entry_id)
if not message then
    -- Entries after the relay's cursor were not tried yet.
    local relayed = fields('relay', nil, 'cursor') or '0-0'
    local entry = redis.call('XRANGE', journal, entry_id, relayed, 'COUNT', 1)[1]
    local sent = entry and entry[1] == entry_id and delivered(entry)
    if not sent then
        return {'message_not_found', at, ''}
    end
    return {'ok', at, '', sent}
elseif message.status == 'stale' then
    return {'message_not_found', at, ''}
end
local addresses = {fields('user', message.user, 'email', 'phone')}
if message.status ~= 'dead' then
    return {'ok', at, '', {entry_id, flat(message), addresses}}
end
message.status, message.attempts = 'waiting', '0'
redis.call('HSET', key('message', entry_id), 'status', 'waiting', 'attempts', '0')
redis.call('ZADD', key('agenda'), at, 'msg_' .. entry_id)
return record_reply(operation_id, fingerprint, kept_ms, {'ok', at, '', {entry_id, flat(message), addresses}})
