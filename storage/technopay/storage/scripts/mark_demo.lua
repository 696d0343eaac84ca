-- mark_demo(keys=[journal], args=[])
--
-- Claim the right to add the demo data, which one process gets once per store.
--
-- Returns {code, now, ''}: 'ok' or 'done'
--@include base

if redis.call('HSETNX', key('meta'), 'demo', int(now)) == 1 then
    return {'ok', int(now), ''}
end
return {'done', int(now), ''}
