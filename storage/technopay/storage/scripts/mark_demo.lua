-- mark_demo(keys=[journal], args=[])
--
-- Claim the right to add the demo data, which one process gets once per store.
--
-- Returns {code, now, ''}: 'ok' or 'done'
--@include base

if redis.call('HSETNX', key('meta'), 'demo', at) == 1 then
    return {'ok', at, ''}
end
return {'done', at, ''}
