-- forget_losses(incarnation)
--
-- Forget the entries that a partition lost: they are accepted.
--
-- incarnation  since the loss was accepted; losses of another one stay
--
-- Returns {code, now, ''}

local meta = read('meta') or {}
local names, lost = losses(meta)
if meta.incarnation == incarnation and lost > 0 then
    redis.call('HDEL', key('meta'), unpack(names))
end
return {'ok', at, ''}
