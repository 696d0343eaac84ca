-- each: many records, one by one. What cannot be read must not stop the others: {id} stands for it.

local function read_each(ids, read_one)
    local found = {}
    for i, id in ipairs(ids) do
        local is_read, record = pcall(read_one, id)
        found[i] = is_read and record or {id}
    end
    return found
end
