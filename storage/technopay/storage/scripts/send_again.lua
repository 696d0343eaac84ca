-- send_again(keys=[journal], args=[operation, fingerprint, kept_ms, message])
--
-- Take a dead message out of its grave: it is due now, with all its attempts. One that is not dead stays as it is.
--
-- Returns {code, now, '', {message, fields, {email, phone}}}
--@include base
--@include operation
--@include challenge
--@include pack
--@include message
--@include record

local operation, fingerprint, kept_ms, id = unpack(ARGV, 1, 4)

local answered = earlier(operation, fingerprint)
if answered then
    return answered
end
local message = read('message', id)
if not message then
    -- Behind the relay nothing was tried yet.
    local relayed = fields('relay', nil, 'cursor') or '0-0'
    local entry = redis.call('XRANGE', KEYS[1], id, relayed, 'COUNT', 1)[1]
    local sent = entry and entry[1] == id and delivered(entry)
    if not sent then
        return {'message_not_found', at, ''}
    end
    return {'ok', at, '', sent}
elseif message.status == 'stale' then
    return {'message_not_found', at, ''}
end
local addresses = {fields('user', message.user, 'email', 'phone')}
if message.status ~= 'dead' then
    return {'ok', at, '', {id, flat(message), addresses}}
end
message.status, message.attempts = 'waiting', '0'
redis.call('HSET', key('message', id), 'status', 'waiting', 'attempts', '0')
redis.call('ZADD', key('agenda'), at, 'msg_' .. id)
return keep(operation, fingerprint, kept_ms, {'ok', at, '', {id, flat(message), addresses}})
