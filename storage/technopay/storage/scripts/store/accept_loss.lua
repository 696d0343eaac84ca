-- accept_loss(incarnation, next_incarnation)
--
-- Give a partition another incarnation, because the store is used as it is although it lost entries of its journals.
-- Engines that saw them stay closed. The losses stay recorded until every partition has it, see forget_losses.
--
-- incarnation  what the operator saw; if the partition has another one by now, nothing changes
--
-- Returns {code, now, ''}: 'ok', also for a repeat, or 'nothing'

local before = fields('meta', nil, 'incarnation')
if before == incarnation then
    redis.call('HSET', key('meta'), 'incarnation', next_incarnation)
elseif before ~= next_incarnation then
    return {'nothing', at, ''}
end
return {'ok', at, ''}
