-- bind_secret(key_ids...)
--
-- Add the ids of an engine's keys to those of the store. The store has to know one of them: so engines with the next
-- secret roll out one by one, and an engine with an unknown secret only is refused ('foreign').
--
-- Returns {code, now, '', id of the key of challenges without one}: 'ok' or 'foreign'

local KEPT = 8

local first, kept = fields('meta', nil, 'secret_id', 'secret_ids')
-- Up to schema 4 there was one id, twice as long.
first = first and string.sub(first, 1, 8)
local ids, is_known, is_ours = {}, {}, not first
for id in string.gmatch(kept or first or '', '%S+') do
    ids[#ids + 1] = id
    is_known[id] = true
end
local before = #ids
for _, id in ipairs(key_ids) do
    first = first or id
    if is_known[id] then
        is_ours = true
    else
        ids[#ids + 1] = id
    end
end
if not is_ours then
    return {'foreign', at, '', first}
end
if #ids > before or not kept then
    redis.call('HSET', key('meta'), 'secret_id', first, 'secret_ids',
        table.concat(ids, ' ', math.max(1, #ids - KEPT + 1)))
end
return {'ok', at, '', first}
