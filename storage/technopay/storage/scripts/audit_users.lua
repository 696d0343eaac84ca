-- audit_users(keys=[journal], args=[ids...])
--
-- Read users, with their addresses, at one position of the journal.
--
-- Returns {code, now, '', position, [fields], {id} for what cannot be read}
--@include base
--@include each
--@include record
--@include behaviour
--@include user
--@include position

local function read_one(id)
    return flat(read_user(id, ''))
end

return {'ok', at, '', position(), read_each(ARGV, read_one)}
