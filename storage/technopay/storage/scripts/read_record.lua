-- read_record(keys=[journal], args=[kind, id, user])
--
-- Read one 'user', 'wallet' or 'invoice'; with a user, only one that belongs to that user.
--
-- Returns {code, now, '', {id, fields}}
--@include base
--@include record
--@include invoice
--@include user

local kind, id, user_id = unpack(ARGV, 1, 3)

-- Before anything is read: who asks for what belongs to others waits as long as for what does not exist.
if user_id ~= '' and fields(kind, id, 'user') ~= user_id then
    return {kind .. '_not_found', at, ''}
end
local record
if kind == 'user' then
    record = read_user(id)
elseif kind == 'invoice' then
    record = read_invoice(id)
else
    record = read(kind, id)
end
if not record then
    return {kind .. '_not_found', at, ''}
end
return {'ok', at, '', {id, flat(record)}}
