-- audit_limits(keys=[journal], args=[ids...])
--
-- Read limits whole, at one position of the journal.
--
-- Returns {code, now, '', position, [{fields, whether it is known to have been set}], {id} for what cannot be read}
--@include base
--@include each
--@include record
--@include position

local function read_one(currency)
    return {flat(read('limit', currency)), redis.call('SISMEMBER', key('limits'), currency)}
end

return {'ok', at, '', position(), read_each(ARGV, read_one)}
