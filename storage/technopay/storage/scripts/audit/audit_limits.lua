-- audit_limits(record_ids...) no-writes
--
-- Read limits whole, at one position of the journal.
--
-- Returns {code, now, '', position, [{fields, whether it is known to have been set}], {id} for what cannot be read}

local function read_one(currency)
    return {flat(read('limit', currency)), redis.call('SISMEMBER', key('limits'), currency)}
end

return {'ok', at, '', position(), read_each(record_ids, read_one)}
