-- read_statement(wallet_id, user_id, at_from, at_to, cursor, limit) no-writes
--
-- Read the entries of a wallet in a range of times, oldest first, page by page. An entry is at the time of its id: so
-- the order of the list is the order of the times, also where the clock was behind the journal.
--
-- at_from  the earliest time, '' for none; at_to: the time before which the entries are, '' for none
-- cursor   three numbers of entries, from the wallet's first one on: before the range, before the page, and before the end
--          of the range; '' for the first page
--
-- Returns {code, now, '', {wallet, currency}, [{journal id, fields}], next cursor, [the entry before the range, the last
-- one before its end]}; {journal id} for an unreadable one, {} for none. 'no_page': no page has this cursor.

if not is_shown_to(user_id, 'wallet', wallet_id) then
    return {'wallet_not_found', at, ''}
end
local ids = key('entries', wallet_id)
local total = redis.call('LLEN', ids)

-- How many entries are earlier than a time: a binary search.
local function count_before(time)
    local least, most = 0, total
    while least < most do
        local middle = math.floor((least + most) / 2)
        local id = redis.call('LINDEX', ids, middle)
        if tonumber(string.match(id, '^(%d+)-%d+$')) < tonumber(time) then
            least = middle + 1
        else
            most = middle
        end
    end
    return least
end

local function entry_of(id)
    local is_read, found = pcall(redis.call, 'XRANGE', journal, id, id)
    return is_read and found[1] or {id}
end

-- The last one of the oldest entries; none of none.
local function last_of(number)
    return number > 0 and entry_of(redis.call('LINDEX', ids, number - 1)) or {}
end

local first, start, last
if cursor == '' then
    first = at_from == '' and 0 or count_before(at_from)
    start, last = first, at_to == '' and total or count_before(at_to)
else
    first, start, last = string.match(cursor, '^(%d+)%.(%d+)%.(%d+)$')
    first, start, last = tonumber(first), tonumber(start), tonumber(last)
    if last > total then
        return {'no_page', at, ''}
    end
end
local following = math.min(start + limit, last)
local entries = {}
if start < following then
    for i, id in ipairs(redis.call('LRANGE', ids, start, following - 1)) do
        entries[i] = entry_of(id)
    end
end
local next_cursor = following < last and int(first) .. '.' .. int(following) .. '.' .. int(last) or ''
local currency = fields('wallet', wallet_id, 'currency')
return {'ok', at, '', {wallet_id, currency}, entries, next_cursor, {last_of(first), last_of(last)}}
