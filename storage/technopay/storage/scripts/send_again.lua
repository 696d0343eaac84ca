-- send_again(keys=[journal], args=[operation, fingerprint, kept_ms, message])
--
-- Take a dead message out of its grave: it is due now, with all its attempts. One that is not dead stays as it is.
--
-- Returns {code, now, '', {message, fields, {email, phone}}}
--@include base
--@include operation

local MESSAGE_KEPT_MS = 72 * 3600 * 1000
local operation, fingerprint, kept_ms, id = unpack(ARGV, 1, 4)

local answered = earlier(operation, fingerprint)
if answered then
    return answered
end
local message = read('message', id)
if not message then
    local sent = redis.call('XRANGE', key('messages'), id, id)[1]
    if not sent or tonumber(sent[2][10]) <= now - MESSAGE_KEPT_MS then
        return {'message_not_found', int(now), ''}
    end
    local user = read('user', sent[2][2]) or {}
    return {'ok', int(now), '', {id, sent[2], {user.email or '', user.phone or ''}}}
end
local user = read('user', message.user) or {}
local addresses = {user.email or '', user.phone or ''}
if message.status ~= 'dead' then
    return {'ok', int(now), '', {id, flat(message), addresses}}
end
message.status, message.attempts = 'waiting', '0'
redis.call('HSET', key('message', id), 'status', 'waiting', 'attempts', '0')
redis.call('ZADD', key('agenda'), int(now), 'msg_' .. id)
return keep(operation, fingerprint, kept_ms, {'ok', int(now), '', {id, flat(message), addresses}})
