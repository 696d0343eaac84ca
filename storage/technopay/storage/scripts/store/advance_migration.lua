-- advance_migration(schema, position, next_schema, next_position)
--
-- Record the progress of a migration, unless it is further already: several can run at once, and calls are repeated.
--
-- schema, position            where the caller was: its step, and the entry of the journal up to which that was done
-- next_schema, next_position  where it is now; behind the last step comes the new schema
--
-- Returns {code, now, '', fields} of the meta record

local current, current_position = fields('meta', nil, 'schema', 'migration_position')
if current == schema and (current_position or '0-0') == position then
    redis.call('HSET', key('meta'), 'schema', next_schema, 'migration_position', next_position)
    if string.sub(next_schema, 1, #'migrating:') ~= 'migrating:' then
        redis.call('HDEL', key('meta'), 'migration_position', 'migrated_from')
    end
end
return {'ok', at, '', flat(read('meta'))}
