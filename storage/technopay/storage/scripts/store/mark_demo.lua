-- mark_demo(state)
--
-- Mark an unused store as a demo's.
--
-- state  'seeding' before the demo data is added, 'seeded' after it; a run that stopped between them adds it again
--
-- Returns {code, now, ''}: 'ok', 'done' when the data was added before, 'in_use' when the store is no demo's.

local meta = key('meta')
local demo = redis.call('HGET', meta, 'demo')
if demo and demo ~= 'seeding' then
    return {'done', at, ''}
elseif not demo and redis.call('EXISTS', journal) == 1 then
    return {'in_use', at, ''}
end
if demo ~= state then
    redis.call('HSET', meta, 'demo', state)
end
return {'ok', at, ''}
