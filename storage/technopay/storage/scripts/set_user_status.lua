-- set_user_status(keys=[journal], args=[operation, fingerprint, kept_ms, user, status, failures_per_day])
--
-- Make a user 'active' or 'blocked'; if the user is already, nothing changes.
--
-- Returns {code, now, '', {user, fields}}
--@include base
--@include operation
--@include record
--@include behaviour
--@include user

local operation, fingerprint, kept_ms, id, status, failures_per_day = unpack(ARGV, 1, 6)

local answered = earlier(operation, fingerprint)
if answered then
    return answered
end
local user = read_user(id, failures_per_day)
if not user then
    return {'user_not_found', at, ''}
end
-- An answer that changed nothing is not kept: later, the same call may have something to do.
if user.status == status then
    return {'ok', at, '', {id, flat(user)}}
end
user.status = status
redis.call('HSET', key('user', id), 'status', status)
append('user.' .. status, id)
return keep(operation, fingerprint, kept_ms, {'ok', at, '', {id, flat(user)}})
