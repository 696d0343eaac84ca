-- page: a page of an index, newest first.

-- The first `count` ids of an index and of `archived` behind a cursor, newest first: ids that left the index, newest first.
local function ids_behind(index, cursor, count, archived)
    local from = cursor == '' and '+' or '(' .. cursor
    local ids = redis.call('ZREVRANGEBYLEX', index, from, '-', 'LIMIT', 0, count)
    if #archived == 0 then
        return ids
    end
    local merged, i, j = {}, 1, 1
    while #merged < count and (ids[i] or archived[j]) do
        if ids[i] and (not archived[j] or not before(ids[i], archived[j])) then
            j = ids[i] == archived[j] and j + 1 or j
            merged[#merged + 1], i = ids[i], i + 1
        else
            merged[#merged + 1], j = archived[j], j + 1
        end
    end
    return merged
end

-- The records, as `read_one` returns them or {id} for an unreadable one, and the next cursor. `cursor` is the last id
-- of the page before, '' for the first page. Ids of records that do not exist are left out.
local function list(index, kind, cursor, limit, archived, read_one)
    local ids = ids_behind(index, cursor, limit + 1, archived)
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
