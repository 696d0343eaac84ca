-- write_tick() allow-oom
--
-- Write something small, which replicas acknowledge, see server/replication.py. No payment that ends waits for memory.
--
-- Returns {code, now, ''}

redis.call('SET', key('tick'), '')
return {'ok', at, ''}
