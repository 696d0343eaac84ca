-- read_each: many records, one by one. An unreadable one becomes {id}, so that it does not stop the others.

local function read_each(ids, read_one)
    local found = {}
    for i, id in ipairs(ids) do
        local is_read, record = pcall(read_one, id)
        found[i] = is_read and record or {id}
    end
    return found
end
