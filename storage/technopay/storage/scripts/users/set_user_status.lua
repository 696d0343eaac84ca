-- set_user_status(operation_id, fingerprint, kept_ms, user_id, status, failures_per_day) recorded
--
-- Set the status of a user, 'active' or 'blocked'.
--
-- Returns {code, now, '', {user, fields}}

local user = read_user(user_id, failures_per_day)
if not user then
    return {'user_not_found', at, ''}
end
-- A reply after which nothing changed is not recorded: later, the same call may have an effect.
if user.status == status then
    return {'ok', at, '', {user_id, flat(user)}}
end
user.status = status
redis.call('HSET', key('user', user_id), 'status', status)
append('user.' .. status, user_id)
return record_reply(operation_id, fingerprint, kept_ms, {'ok', at, '', {user_id, flat(user)}})
