-- end_reservation(referred, kept, is_free)
--
-- End the reservation of a reference: its invoice was created, or is not created any more.
--
-- referred  as its agenda names it
-- kept      what was reserved; if it is something else by now, nothing changes
-- is_free   '1' if the reference is free again
--
-- Returns {code, now, ''}

if redis.call('HGET', key('references'), referred) == kept then
    redis.call('ZREM', key('agenda'), 'ref_' .. referred)
    if is_free == '1' then
        redis.call('HDEL', key('references'), referred)
    end
end
return {'ok', at, ''}
