-- list_entries(wallet_id, user_id, cursor, limit) no-writes
--
-- List the movements of a wallet, newest first. The wallet keeps their places in the journal only.
--
-- cursor  how many of the oldest entries are still to come, '' for all
--
-- Returns {code, now, '', [{journal id, fields}], next cursor}, with {journal id} for what cannot be read

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
    local places = redis.call('LRANGE', key('entries', wallet_id), first, last - 1)
    for i = #places, 1, -1 do
        local is_read, found = pcall(redis.call, 'XRANGE', journal, places[i], places[i])
        entries[#entries + 1] = is_read and found[1] or {places[i]}
    end
end
return {'ok', at, '', entries, first > 0 and int(first) or ''}
