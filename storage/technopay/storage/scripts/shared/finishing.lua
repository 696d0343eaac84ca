-- finishing: how a script goes on with what was accepted before, on a server that has no memory left.

-- Let this script write all the same: only a script's first write is refused, and this one needs no memory. No money
-- waits for memory.
local function exempt_from_memory_limit()
    redis.call('ZREM', key('agenda'), '')
end
