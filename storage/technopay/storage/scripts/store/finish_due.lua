-- finish_due(member)
--
-- Take a member off the agenda whose work spans partitions: a store of one partition has none.
--
-- Returns {code, now, ''}

redis.call('ZREM', key('agenda'), member)
return {'ok', at, ''}
