-- audit_users(keys=[journal], args=[ids...])
--
-- Read users, with their addresses, at one position of the journal.
--
-- Returns {code, now, '', position, [{status, email, phone}], {id} for what cannot be read}
--@include base
--@include each
--@include position

local function read_one(id)
    return {fields('user', id, 'status', 'email', 'phone')}
end

return {'ok', at, '', position(), read_each(ARGV, read_one)}
