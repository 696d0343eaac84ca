-- list_entries(keys=[journal], args=[wallet, user, cursor, count])
--
-- List the movements of a wallet, newest first. The wallet keeps their places in the journal only.
--
-- cursor  how many of the oldest entries are still to come, '' for all
--
-- Returns {code, now, '', [{journal id, fields}], next cursor}, with {journal id} for what cannot be read
--@include base

local wallet_id, user_id, cursor, count = unpack(ARGV, 1, 4)

local holder = fields('wallet', wallet_id, 'user')
if not holder or (user_id ~= '' and holder ~= user_id) then
    return {'wallet_not_found', at, ''}
end
local last = redis.call('LLEN', key('entries', wallet_id))
if cursor ~= '' then
    last = math.min(last, tonumber(cursor))
end
local first = math.max(last - count, 0)
local entries = {}
if last > 0 then
    local places = redis.call('LRANGE', key('entries', wallet_id), first, last - 1)
    for i = #places, 1, -1 do
        local is_read, found = pcall(redis.call, 'XRANGE', KEYS[1], places[i], places[i])
        entries[#entries + 1] = is_read and found[1] or {places[i]}
    end
end
return {'ok', at, '', entries, first > 0 and int(first) or ''}
