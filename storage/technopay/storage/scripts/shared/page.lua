-- page: a page of an index, newest first.

-- The records, as `read_one` returns them or {id} for an unreadable one, and the next cursor. `cursor` is the last id
-- of the page before, '' for the first page. Ids of records that do not exist are left out.
local function list(index, kind, cursor, limit, read_one)
    local from = cursor == '' and '+' or '(' .. cursor
    local ids = redis.call('ZREVRANGEBYLEX', index, from, '-', 'LIMIT', 0, limit + 1)
    local next_cursor = ''
    if #ids > tonumber(limit) then
        ids[#ids] = nil
        next_cursor = ids[#ids]
    end
    local existing = {}
    for _, id in ipairs(ids) do
        if exists(kind, id) then
            existing[#existing + 1] = id
        end
    end
    return read_each(existing, read_one), next_cursor
end
