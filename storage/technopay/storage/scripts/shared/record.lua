-- record: whole records, for scripts where speed does not matter.

-- A record by name, or nil.
local function read(kind, id)
    local list = redis.call('HGETALL', key(kind, id))
    if #list == 0 then
        return nil
    end
    local record = {}
    for i = 1, #list, 2 do
        record[list[i]] = list[i + 1]
    end
    return record
end

local function flat(record)
    local list = {}
    for name, value in pairs(record or {}) do
        list[#list + 1] = name
        list[#list + 1] = value
    end
    return list
end
