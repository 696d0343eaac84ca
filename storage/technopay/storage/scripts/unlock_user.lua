-- unlock_user(keys=[journal], args=[operation, fingerprint, kept_ms, user, failures_per_day])
--
-- Forget the wrong codes that lock a user out; if none do, nothing changes. See shared/behaviour.lua.
--
-- Returns {code, now, '', {user, fields}}
--@include base
--@include operation
--@include record
--@include behaviour
--@include user

local operation, fingerprint, kept_ms, id, failures_per_day = unpack(ARGV, 1, 5)

local answered = earlier(operation, fingerprint)
if answered then
    return answered
end
local user = read_user(id, failures_per_day)
if not user then
    return {'user_not_found', at, ''}
end
-- An answer that changed nothing is not kept: later, the same call may have something to do.
if not user.locked_until then
    return {'ok', at, '', {id, flat(user)}}
end
user.locked_until = nil
redis.call('HDEL', key('user', id), 'failures')
append('user.unlocked', id)
return keep(operation, fingerprint, kept_ms, {'ok', at, '', {id, flat(user)}})
