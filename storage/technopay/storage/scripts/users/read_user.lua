-- read_user(user_id, failures_per_day) no-writes
--
-- Read a user, and whether wrong codes lock the user out; for failures_per_day see shared/rate_limits.lua.
--
-- Returns {code, now, '', {user, fields}}

local user = read_user(user_id, failures_per_day)
if not user then
    return {'user_not_found', at, ''}
end
return {'ok', at, '', {user_id, flat(user)}}
