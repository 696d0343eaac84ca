-- accept_loss(incarnation, next_incarnation)
--
-- Use a partition as it is, although the store lost entries of its journals. Engines that saw them stay closed: the store
-- has another incarnation now.
--
-- incarnation  what the operator saw; if the partition has another one by now, nothing is accepted
--
-- Returns {code, now, ''}: 'ok', also for a repeat, or 'nothing'

local meta = read('meta') or {}
local names, lost = losses(meta)
if meta.incarnation == next_incarnation then
    return {'ok', at, ''}
elseif meta.incarnation ~= incarnation then
    return {'nothing', at, ''}
end
redis.call('HSET', key('meta'), 'incarnation', next_incarnation)
if lost > 0 then
    redis.call('HDEL', key('meta'), unpack(names))
end
return {'ok', at, ''}
