-- unlock_user(operation_id, fingerprint, kept_ms, user_id, failures_per_day) recorded
--
-- Clear the wrong codes that lock a user out, see shared/rate_limits.lua.
--
-- Returns {code, now, '', {user, fields}}

local user = read_user(user_id, failures_per_day)
if not user then
    return {'user_not_found', at, ''}
end
-- A reply after which nothing changed is not recorded: later, the same call may have an effect.
if not user.locked_until then
    return {'ok', at, '', {user_id, flat(user)}}
end
user.locked_until = nil
redis.call('HDEL', key('user', user_id), 'failures')
append('user.unlocked', user_id)
return record_reply(operation_id, fingerprint, kept_ms, {'ok', at, '', {user_id, flat(user)}})
