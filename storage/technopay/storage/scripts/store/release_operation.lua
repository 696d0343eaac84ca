-- release_operation(operation_id, fingerprint)
--
-- Release an idempotency key: its call was refused, and changed nothing.
--
-- Returns {code, now, ''}

if redis.call('HGET', key('operation', operation_id), 'fingerprint') == fingerprint then
    redis.call('DEL', key('operation', operation_id))
    redis.call('ZREM', key('agenda'), 'op_' .. operation_id)
end
return {'ok', at, ''}
