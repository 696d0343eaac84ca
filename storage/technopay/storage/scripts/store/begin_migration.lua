-- begin_migration(schema, incarnation)
--
-- Begin to migrate a store, or go on: with another incarnation, so that engines of the earlier version close at their
-- next health check.
--
-- schema  what the caller read; if the store has another one by now, another migration began or ended it
--
-- Returns {code, now, '', fields} of the meta record

local meta = read('meta') or {}
if meta.schema == schema and string.sub(schema, 1, #'migrating:') ~= 'migrating:' then
    redis.call('HSET', key('meta'), 'schema', 'migrating:1', 'migrated_from', schema,
        'migration_position', '0-0', 'incarnation', incarnation)
end
return {'ok', at, '', flat(read('meta'))}
