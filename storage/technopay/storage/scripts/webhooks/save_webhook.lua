-- save_webhook(operation_id, fingerprint, kept_ms, webhook_id, epoch, url, merchant, types, status, secrets) recorded
--
-- Create a webhook (epoch '0'), or change the one of this epoch; with the status 'deleted' it is gone for all reads. The
-- agenda goes on to tell all partitions.
--
-- secrets  encrypted; no reply has them, because it is recorded
--
-- Returns {code, now, '', {webhook, fields}}: 'ok'; 'conflict' for another epoch; 'webhooks_full'

local WEBHOOKS_MAX = 64

local known, status_before, created_at = fields('endpoint', webhook_id, 'epoch', 'status', 'created_at')
if epoch == '0' then
    -- One more field is the version.
    if not known and redis.call('HLEN', key('webhooks')) > WEBHOOKS_MAX then
        return {'webhooks_full', at, ''}
    end
elseif not known or status_before == 'deleted' then
    return {'webhook_not_found', at, ''}
end
if (known or '0') ~= epoch then
    return {'conflict', at, ''}
end
local next_epoch = int(epoch + 1)
redis.call('HSET', key('endpoint', webhook_id), 'epoch', next_epoch, 'url', url, 'merchant', merchant, 'types', types,
    'status', status, 'secrets', secrets, 'created_at', created_at or at)
if status == 'active' and status_before ~= 'active' then
    redis.call('HDEL', key('endpoint', webhook_id), 'failing_since')
end
redis.call('HSET', key('webhooks'), webhook_id, next_epoch)
redis.call('HINCRBY', key('webhooks'), 'version', 1)
redis.call('ZADD', key('agenda'), int(now + SPREAD_MS), webhook_id)
local shown = read('endpoint', webhook_id)
shown.secrets = nil
return record_reply(operation_id, fingerprint, kept_ms, {'ok', at, '', {webhook_id, flat(shown)}})
