-- create_user(keys=[journal], args=[operation, fingerprint, kept_ms, user, email, phone])
--
-- Make known a user of the caller's identity system; '' for an address that the user does not have.
--
-- Returns {code, now, '', {user, fields}}
--@include base
--@include operation
--@include record

local operation, fingerprint, kept_ms, id, email, phone = unpack(ARGV, 1, 6)

local answered = earlier(operation, fingerprint)
if answered then
    return answered
end
if exists('user', id) then
    return {'user_exists', at, ''}
end
local user = {status = 'active', created_at = at}
if email ~= '' then
    user.email = email
end
if phone ~= '' then
    user.phone = phone
end
redis.call('HSET', key('user', id), unpack(flat(user)))
append('user.created', id)
return keep(operation, fingerprint, kept_ms, {'ok', at, '', {id, flat(user)}})
