-- record_loss(incarnation, entry_id) allow-oom
--
-- Record that the store lost an entry of its journal which an engine saw: no engine uses it until an operator accepts
-- the loss.
--
-- incarnation  of the store that had the entry
--
-- Returns {code, now, ''}: 'ok', or 'kept' when the entry is there or was trimmed, or the store is another one.

-- Each engine records one entry.
local LOSSES_MAX = 64

local meta = read('meta') or {}
local _, lost = losses(meta)
local trimmed_to = fields('archive', nil, 'trimmed_to')
if meta.incarnation ~= incarnation or trimmed_to and not is_after(entry_id, trimmed_to)
    or #redis.call('XRANGE', journal, entry_id, entry_id) > 0 then
    return {'kept', at, ''}
elseif lost < LOSSES_MAX then
    local before = redis.call('XREVRANGE', journal, entry_id, '-', 'COUNT', 1)[1]
    redis.call('HSET', key('meta'), LOST .. entry_id, before and before[1] or '0-0')
end
return {'ok', at, ''}
