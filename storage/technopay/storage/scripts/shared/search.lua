-- search: lists of records for operators. None has an index of its own, which purchases would pay for.
--
-- One call reads a bounded batch, so a page can be short while there is a next one. `matching` returns a record as it is
-- listed, nil for one that is left out. Each search returns the records, {id} for an unreadable one, the next cursor and
-- the place of each: its journal entry, or its id in an index.

local SEARCH_BATCH, SEARCH_BATCHES = 200, 10

local function add_matching(found, places, id, place, matching)
    local is_read, record = pcall(matching, id)
    if not is_read or record then
        found[#found + 1], places[#places + 1] = is_read and record or {id}, place
    end
end

-- The end of the entries that can have a time before `to` (milliseconds).
--
-- The id of an entry is never before its time, and later by at most `clock_behind_ms`, see shared/base.lua. A store of an
-- earlier version did not record that: there, all entries can.
local function end_of_entries(to)
    local behind_ms = fields('meta', nil, 'clock_behind_ms')
    return to ~= '' and behind_ms and '(' .. int(to + behind_ms) .. '-0' or '+'
end

-- The subjects of archived entries, id and subject each, newest first.
local function search_archived(archived, limit, matching)
    local found, places = {}, {}
    for i = 1, #archived, 2 do
        add_matching(found, places, archived[i + 1], archived[i], matching)
        if #found == tonumber(limit) then
            return found, archived[i], places
        end
    end
    return found, '', places
end

-- The subjects of the entries of a type, newest first. With `from` or `to` (milliseconds, '' for none) the entries
-- outside are not read; `matching` still has to compare the times.
--
-- Entries that left the store are behind the end of its part: then the next cursor is not behind `trimmed_to`, and the
-- caller reads them from the archive. It passes those of the type as `archived`.
local function search_journal(type, cursor, limit, archived, matching, from, to)
    if #archived > 0 then
        return search_archived(archived, limit, matching)
    end
    local found, places, first = {}, {}, (from or '') == '' and '-' or from
    local trimmed_to = fields('archive', nil, 'trimmed_to')
    local is_trimmed = trimmed_to and (first == '-' or not is_after(from .. '-0', trimmed_to))
    if is_trimmed then
        first = '(' .. trimmed_to
    end
    cursor = string.match(cursor, '^[^.]*') -- one of a list over all partitions names its partition, too
    for _ = 1, SEARCH_BATCHES do
        local last = cursor == '' and end_of_entries(to or '') or '(' .. cursor
        local entries = redis.call('XREVRANGE', journal, last, first, 'COUNT', SEARCH_BATCH)
        for _, entry in ipairs(entries) do
            cursor = entry[1]
            if entry[2][1] == type then
                add_matching(found, places, entry[2][2], cursor, matching)
            end
            if #found == tonumber(limit) then
                return found, cursor, places
            end
        end
        if #entries < SEARCH_BATCH then
            return found, is_trimmed and earlier(cursor, following(trimmed_to)) or '', places
        end
    end
    return found, cursor, places
end

-- The members of an index, newest first. A member whose record is gone has to be left out by `matching`.
-- With archived ids, of at most a batch, the batch behind the cursor is all that is read.
local function search_index(index, cursor, limit, archived, matching)
    local found, places = {}, {}
    for _ = 1, #archived > 0 and 1 or SEARCH_BATCHES do
        local ids = ids_behind(index, cursor, SEARCH_BATCH, archived)
        for i, id in ipairs(ids) do
            cursor = id
            add_matching(found, places, id, id, matching)
            if #found == tonumber(limit) then
                return found, (i < #ids or #ids == SEARCH_BATCH) and cursor or '', places
            end
        end
        if #ids < SEARCH_BATCH then
            return found, '', places
        end
    end
    return found, cursor, places
end
