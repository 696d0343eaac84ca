-- bind_secret(keys=[journal], args=[secret_id])
--
-- Tie the store to the secret that is used first.
--
-- Returns {code, now, '', id of the secret that the store is tied to}
--@include base

local meta = key('meta')
if (redis.call('HGET', meta, 'secret_id') or '') == '' then
    redis.call('HSET', meta, 'secret_id', ARGV[1])
end
return {'ok', at, '', redis.call('HGET', meta, 'secret_id')}
