-- mark_demo(keys=[journal], args=[claimant])
--
-- Claim the right to add the demo data, which one claimant gets once per store.
--
-- Returns {code, now, ''}: 'ok' or 'done'
--@include base

local meta = key('meta')
redis.call('HSETNX', meta, 'demo', ARGV[1])
return {redis.call('HGET', meta, 'demo') == ARGV[1] and 'ok' or 'done', at, ''}
