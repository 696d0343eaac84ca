-- audit_users(record_ids...) no-writes
--
-- Read users, with their addresses, at one position of the journal.
--
-- Returns {code, now, '', position, [fields], {id} for an unreadable one}

local function read_one(id)
    return flat(read_user(id, ''))
end

return {'ok', at, '', position(), read_each(record_ids, read_one)}
