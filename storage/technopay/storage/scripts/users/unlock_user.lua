-- unlock_user(operation_id, fingerprint, kept_ms, user_id, failures_per_day)
--
-- Forget the wrong codes that lock a user out; if none do, nothing changes. See shared/behaviour.lua.
--
-- Returns {code, now, '', {user, fields}}

local answered = earlier(operation_id, fingerprint)
if answered then
    return answered
end
local user = read_user(user_id, failures_per_day)
if not user then
    return {'user_not_found', at, ''}
end
-- An answer that changed nothing is not kept: later, the same call may have something to do.
if not user.locked_until then
    return {'ok', at, '', {user_id, flat(user)}}
end
user.locked_until = nil
redis.call('HDEL', key('user', user_id), 'failures')
append('user.unlocked', user_id)
return remember(operation_id, fingerprint, kept_ms, {'ok', at, '', {user_id, flat(user)}})
