-- read_record(keys=[journal], args=[kind, id, user, failures_per_day])
--
-- Read one 'user', 'wallet' or 'invoice'; with a user, only one that belongs to that user.
-- For failures_per_day see shared/behaviour.lua: it says whether a user is locked out.
--
-- Returns {code, now, '', {id, fields}}
--@include base
--@include record
--@include invoice
--@include behaviour
--@include user

local kind, id, user_id, failures_per_day = unpack(ARGV, 1, 4)

-- Before anything is read: who asks for what belongs to others waits as long as for what does not exist.
if user_id ~= '' and fields(kind, id, 'user') ~= user_id then
    return {kind .. '_not_found', at, ''}
end
local record
if kind == 'user' then
    record = read_user(id, failures_per_day)
elseif kind == 'invoice' then
    record = read_invoice(id)
else
    record = read(kind, id)
end
if not record then
    return {kind .. '_not_found', at, ''}
end
return {'ok', at, '', {id, flat(record)}}
