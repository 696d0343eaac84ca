-- create_user(operation_id, fingerprint, kept_ms, user_id, email, phone)
--
-- Make known a user of the caller's identity system; '' for an address that the user does not have.
--
-- Returns {code, now, '', {user, fields}}

local answered = earlier(operation_id, fingerprint)
if answered then
    return answered
end
if exists('user', user_id) then
    return {'user_exists', at, ''}
end
local user = {status = 'active', created_at = at}
if email ~= '' then
    user.email = email
end
if phone ~= '' then
    user.phone = phone
end
redis.call('HSET', key('user', user_id), unpack(flat(user)))
append('user.created', user_id)
return remember(operation_id, fingerprint, kept_ms, {'ok', at, '', {user_id, flat(user)}})
