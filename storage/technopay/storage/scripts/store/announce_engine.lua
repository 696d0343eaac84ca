-- announce_engine(name, stays)
--
-- Announce an engine to the others on the store, or take it off (stays '0').
--
-- Returns {code, now, '', [names of all that have announced themselves lately]}

-- Three times the interval of announcements, see engine/polling.py.
local COUNTED_MS = 15000
local ENGINES_MAX = 1000

local engines = key('engines')
redis.call('ZREMRANGEBYSCORE', engines, '-inf', at)
-- After the clock went back, a time too far ahead is of an engine that may be gone.
redis.call('ZREMRANGEBYSCORE', engines, '(' .. int(now + COUNTED_MS), '+inf')
if stays == '1' then
    redis.call('ZADD', engines, int(now + COUNTED_MS), name)
else
    redis.call('ZREM', engines, name)
end
return {'ok', at, '', redis.call('ZRANGE', engines, 0, ENGINES_MAX - 1)}
