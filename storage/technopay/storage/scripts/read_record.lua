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

local record
if kind == 'user' then
    record = read_user(id)
elseif kind == 'invoice' then
    record = read_invoice(id)
else
    record = read(kind, id)
end
if not record or (user_id ~= '' and record.user ~= user_id) then
    return {kind .. '_not_found', at, ''}
end
return {'ok', at, '', {id, flat(record)}}
