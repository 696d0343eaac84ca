-- initialise(incarnation, schema, partitions, timezone)
--
-- Make an unused store one of technopay's. A store that holds a journal but no meta record has lost data.
--
-- Returns {code, now, '', fields}: 'ok', or 'in_use' with what is there.

local meta = read('meta')
if meta or redis.call('EXISTS', journal) == 1 then
    return {'in_use', at, '', flat(meta)}
end
redis.call('HSET', key('meta'), 'incarnation', incarnation, 'schema', schema, 'partitions', partitions,
    'timezone', timezone, 'created_at', at, 'clock_behind_ms', '0')
return {'ok', at, '', flat(read('meta'))}
