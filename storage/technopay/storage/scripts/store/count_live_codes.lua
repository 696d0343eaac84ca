-- count_live_codes(offset, limit) no-writes
--
-- Count the codes that can still be used, by the id of their key; reads one batch of the agenda.
--
-- Returns {code, now, '', [key id, how many, …]}: 'ok', or 'more' when the agenda goes on

local first = string.sub(fields('meta', nil, 'secret_id') or '', 1, 8)
local counts = {}

local function count(id)
    if shown_status(id, (fields('payment', id, 'status'))) == 'requires_confirmation' then
        local key_id = read_code(id).key or first
        counts[key_id] = (counts[key_id] or 0) + 1
    end
end

-- A payment that waits for its code is due when the code expires, so members that are due have none.
local members = redis.call('ZRANGEBYSCORE', key('agenda'), at, '+inf', 'LIMIT', offset, limit)
for _, member in ipairs(members) do
    if string.sub(member, 1, 4) == 'pay_' then
        pcall(count, member)
    end
end
local found = {}
for key_id, number in pairs(counts) do
    found[#found + 1], found[#found + 2] = key_id, int(number)
end
return {#members == tonumber(limit) and 'more' or 'ok', at, '', found}
