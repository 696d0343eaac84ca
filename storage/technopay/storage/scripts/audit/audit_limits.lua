-- audit_limits(record_ids...) no-writes
--
-- Read whole limits, at one position of the journal; on a store of several partitions without their slices, and with the
-- limit of the home.
--
-- Returns {code, now, '', position, [{fields, whether it is in the set of limits}], {id} for an unreadable one}

local function read_one(name)
    local record = read('limit', name)
    if is_partitioned then
        local used = {limit = fields('quota', name, 'limit') or nil}
        for field, value in pairs(record or {}) do
            if string.match(field, '^%d[%d-]*$') then
                used[field] = value
            end
        end
        record = used
    end
    return {flat(record), redis.call('SISMEMBER', key('limits'), name)}
end

return {'ok', at, '', position(), read_each(record_ids, read_one)}
