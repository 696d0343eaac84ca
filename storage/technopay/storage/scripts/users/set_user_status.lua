-- set_user_status(operation_id, fingerprint, kept_ms, user_id, status, failures_per_day)
--
-- Make a user 'active' or 'blocked'; if the user is already, nothing changes.
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
if user.status == status then
    return {'ok', at, '', {user_id, flat(user)}}
end
user.status = status
redis.call('HSET', key('user', user_id), 'status', status)
append('user.' .. status, user_id)
return remember(operation_id, fingerprint, kept_ms, {'ok', at, '', {user_id, flat(user)}})
