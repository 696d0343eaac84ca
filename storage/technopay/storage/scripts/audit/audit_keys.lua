-- audit_keys(names...) no-writes
--
-- Read the types of keys; `names` are without the hash tag.
--
-- Returns {code, now, '', [type]}, {name} for an operation with an unreadable reply

local function read_one(name)
    local type = redis.call('TYPE', key(name)).ok
    if type == 'hash' and string.sub(name, 1, 10) == 'operation:' then
        cjson.decode(redis.call('HGET', key(name), 'reply'))
    end
    return type
end

return {'ok', at, '', read_each(names, read_one)}
