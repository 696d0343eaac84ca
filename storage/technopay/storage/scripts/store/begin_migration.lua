-- begin_migration(incarnation)
--
-- Begin to migrate a store, or go on: with another incarnation, so that engines of the earlier version close at their
-- next look.
--
-- Returns {code, now, '', fields} of the meta record

local meta = read('meta')
if string.sub(meta.schema, 1, 10) ~= 'migrating:' then
    redis.call('HSET', key('meta'), 'schema', 'migrating:1', 'migrated_from', meta.schema,
        'migration_position', '0-0', 'incarnation', incarnation)
end
return {'ok', at, '', flat(read('meta'))}
