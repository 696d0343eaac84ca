-- accept_loss(incarnation, next_incarnation) allow-oom
--
-- Use a store as it is, although it lost entries of its journal. Engines that saw them stay closed: the store has
-- another incarnation now.
--
-- incarnation  what the operator saw; if the store has another one by now, nothing is accepted
--
-- Returns {code, now, ''}: 'ok', or 'nothing' when there is no loss to accept.

local meta = read('meta') or {}
local names, lost = losses(meta)
if meta.incarnation == next_incarnation then
    return {'ok', at, ''} -- a repeat after a lost reply
elseif meta.incarnation ~= incarnation or lost == 0 then
    return {'nothing', at, ''}
end
redis.call('HSET', key('meta'), 'incarnation', next_incarnation)
redis.call('HDEL', key('meta'), unpack(names))
return {'ok', at, ''}
