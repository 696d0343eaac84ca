-- finish_initialise(schema)
--
-- Give the first partition its schema, once all others are initialised: from now on the store can be used.
--
-- Returns {code, now, '', fields} of the meta record

if fields('meta', nil, 'schema') == INITIALISING then
    redis.call('HSET', key('meta'), 'schema', schema)
end
return {'ok', at, '', flat(read('meta'))}
