-- list_entries(wallet_id, user_id, cursor, limit) no-writes
--
-- List the movements of a wallet, newest first. The wallet has the ids of their journal entries only.
--
-- cursor  how many of the oldest entries are left, '' for all
--
-- Returns {code, now, '', [{journal id, fields}], next cursor}, {journal id} for an unreadable one

if not is_shown_to(user_id, 'wallet', wallet_id) then
    return {'wallet_not_found', at, ''}
end
local last = redis.call('LLEN', key('entries', wallet_id))
if cursor ~= '' then
    last = math.min(last, tonumber(cursor))
end
local first = math.max(last - limit, 0)
local entries = {}
if last > 0 then
    local ids = redis.call('LRANGE', key('entries', wallet_id), first, last - 1)
    for i = #ids, 1, -1 do
        local is_read, found = pcall(redis.call, 'XRANGE', journal, ids[i], ids[i])
        entries[#entries + 1] = is_read and found[1] or {ids[i]}
    end
end
return {'ok', at, '', entries, first > 0 and int(first) or ''}
