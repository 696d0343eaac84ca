-- read_record(keys=[journal], args=[kind, id, user])
--
-- Read one 'user', 'wallet' or 'invoice'; with a user, only one that belongs to that user.
--
-- Returns {code, now, '', {id, fields}}
--@include base

local kind, id, user_id = unpack(ARGV, 1, 3)

local fields = read(kind, id)
if not fields or (user_id ~= '' and fields.user ~= user_id) then
    return {kind .. '_not_found', int(now), ''}
end
return {'ok', int(now), '', {id, flat(fields)}}
