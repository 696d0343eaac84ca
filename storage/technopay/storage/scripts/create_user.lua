-- create_user(keys=[journal], args=[operation, fingerprint, kept_ms, user, email, phone])
--
-- Make known a user of the caller's identity system; '' for an address that the user does not have.
--
-- Returns {code, now, '', {user, fields}}
--@include base
--@include operation

local operation, fingerprint, kept_ms, id, email, phone = unpack(ARGV, 1, 6)

local answered = earlier(operation, fingerprint)
if answered then
    return answered
end
if read('user', id) then
    return {'user_exists', int(now), ''}
end
local user = {status = 'active', created_at = int(now)}
if email ~= '' then
    user.email = email
end
if phone ~= '' then
    user.phone = phone
end
redis.call('HSET', key('user', id), unpack(flat(user)))
append('user.created', 'user', id)
return keep(operation, fingerprint, kept_ms, {'ok', int(now), '', {id, flat(user)}})
