-- audit_limits(keys=[journal], args=[ids...])
--
-- Read limits whole, at one position of the journal.
--
-- Returns {code, now, '', position, [{fields, whether it is known to have been set}]}
--@include base
--@include record
--@include position

local found = {}
for i, currency in ipairs(ARGV) do
    found[i] = {flat(read('limit', currency)), redis.call('SISMEMBER', key('limits'), currency)}
end
return {'ok', at, '', position(), found}
