-- list: a page of an index, newest first.

-- {records, next cursor}: what `read_one` returns for each id, {id} for what cannot be read. `cursor` is the id after
-- which to go on, '' for the newest; what the index holds and does not exist is left out.
local function list(index, kind, cursor, limit, read_one)
    local from = cursor == '' and '+' or '(' .. cursor
    local ids = redis.call('ZREVRANGEBYLEX', index, from, '-', 'LIMIT', 0, limit + 1)
    local next_cursor = ''
    if #ids > tonumber(limit) then
        ids[#ids] = nil
        next_cursor = ids[#ids]
    end
    local there = {}
    for _, id in ipairs(ids) do
        if exists(kind, id) then
            there[#there + 1] = id
        end
    end
    return read_each(there, read_one), next_cursor
end
