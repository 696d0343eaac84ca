-- finish_webhook(webhook_id, epoch)
--
-- Note that every partition knows a change of a webhook, unless there is a later one. A deleted webhook is gone then.
--
-- Returns {code, now, ''}

local known, status = fields('endpoint', webhook_id, 'epoch', 'status')
if not known or known == epoch then
    redis.call('ZREM', key('agenda'), webhook_id)
end
if known == epoch and status == 'deleted' then
    redis.call('DEL', key('endpoint', webhook_id))
    redis.call('HDEL', key('webhooks'), webhook_id)
    redis.call('HINCRBY', key('webhooks'), 'version', 1)
end
return {'ok', at, ''}
