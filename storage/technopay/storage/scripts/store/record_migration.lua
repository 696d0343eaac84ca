-- record_migration(schema, position)
--
-- Record how far a migration has come: its step, and the entry of the journal up to which that was done. The last step's
-- schema is the new one.
--
-- Returns {code, now, ''}

redis.call('HSET', key('meta'), 'schema', schema, 'migration_position', position)
if string.sub(schema, 1, 10) ~= 'migrating:' then
    redis.call('HDEL', key('meta'), 'migration_position', 'migrated_from')
end
return {'ok', at, ''}
