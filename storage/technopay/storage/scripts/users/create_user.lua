-- create_user(operation_id, fingerprint, kept_ms, user_id, email, phone) recorded
--
-- Create a user; '' for no e-mail address or phone number.
--
-- Returns {code, now, '', {user, fields}}

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
return record_reply(operation_id, fingerprint, kept_ms, {'ok', at, '', {user_id, flat(user)}})
