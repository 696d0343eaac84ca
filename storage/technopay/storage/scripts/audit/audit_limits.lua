-- audit_limits(record_ids...) no-writes
--
-- Read whole limits, at one position of the journal.
--
-- Returns {code, now, '', position, [{fields, whether it is in the set of limits}], {id} for an unreadable one}

local function read_one(currency)
    return {flat(read('limit', currency)), redis.call('SISMEMBER', key('limits'), currency)}
end

return {'ok', at, '', position(), read_each(record_ids, read_one)}
