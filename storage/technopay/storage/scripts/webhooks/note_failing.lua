-- note_failing(webhook_id, is_failing)
--
-- Note that a webhook began to fail ('1'), or works again.
--
-- Returns {code, now, ''}

local known, failing_since = fields('endpoint', webhook_id, 'epoch', 'failing_since')
if known and (is_failing == '1') ~= (failing_since and true or false) then
    if is_failing == '1' then
        redis.call('HSET', key('endpoint', webhook_id), 'failing_since', at)
    else
        redis.call('HDEL', key('endpoint', webhook_id), 'failing_since')
    end
    redis.call('HINCRBY', key('webhooks'), 'version', 1)
end
return {'ok', at, ''}
